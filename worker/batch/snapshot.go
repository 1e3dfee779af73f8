package batch

// Snapshot is what a Learner knows, in a form that is stored. A snapshot of another version of the model server only
// costs some trials: everything in it is measured again.
type Snapshot struct {
	Cells   []CellState `json:"cells,omitempty"`
	Sizes   []SizeState `json:"sizes,omitempty"`
	Bad     float64     `json:"bad,omitempty"`
	Rows    float64     `json:"rows,omitempty"`
	Version int         `json:"version"`
}

// CellState is what was measured of calls of one size.
type CellState struct {
	Rows   float64 `json:"rows"`   // on average
	Length float64 `json:"length"` // bytes of the longest row, on average
	Rate   float64 `json:"rate"`   // rows in a second
	Count  int     `json:"count"`  // calls measured
}

// SizeState is the size learned for one class of lengths.
type SizeState struct {
	Class   int  `json:"class"`
	Step    int  `json:"step"` // the size is 2 to the power of it
	Top     int  `json:"top"`  // the largest step tried
	Climbed bool `json:"climbed"`
}

const snapshotVersion = 1

// Snapshot is what the learner knows now.
func (l *Learner) Snapshot() Snapshot {
	s := Snapshot{Version: snapshotVersion, Bad: l.bad, Rows: l.rows}
	for class := range l.table.cells {
		for step := range l.table.cells[class] {
			if c := &l.table.cells[class][step]; c.n > 0 {
				s.Cells = append(s.Cells, CellState{c.rows, c.length, c.middle, c.n})
			}
		}
		if f := l.sizes[class]; f.step > 0 || f.climbed {
			s.Sizes = append(s.Sizes, SizeState{class, f.step, f.top, f.climbed})
		}
	}
	return s
}

// restore takes what makes sense of a snapshot. Old measurements weigh as little as counts.
func (l *Learner) restore(s Snapshot) {
	if s.Version != snapshotVersion {
		return
	}
	for _, c := range s.Cells {
		load := Load{int(c.Rows + 0.5), int(c.Length + 0.5)}
		if load.Rows < 1 || load.Length < 0 || !(c.Rate > 0 && c.Rate < 1e12) {
			continue
		}
		to := &l.table.cells[classOf(load.Length)][stepOf(load.Rows)]
		for range min(c.Count, enough) {
			to.add(load, c.Rate, 0)
		}
	}
	l.table.fit()
	for _, f := range s.Sizes {
		if f.Class >= 0 && f.Class < classes && f.Step >= 0 && f.Step <= f.Top && f.Top < steps {
			to := &l.sizes[f.Class]
			to.step, to.top, to.climbed = f.Step, f.Top, f.Climbed
		}
	}
	if s.Bad >= 0 && s.Rows >= s.Bad && s.Rows <= 2*fadeRows {
		l.bad, l.rows = s.Bad, s.Rows
	}
}
