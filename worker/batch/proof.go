package batch

import "time"

// Mode is how far a route may merge.
type Mode string

// The modes. Auto merges after a proof that rows do not depend on each other, On without one, Off never.
const (
	Auto Mode = "auto"
	On   Mode = "on"
	Off  Mode = "off"
)

// Stage is where a proof stands.
type Stage string

// The stages.
const (
	Unproven Stage = "unproven" // nothing is merged; the next rows that could be are a probe
	Probing  Stage = "probing"  // a probe runs
	Proven   Stage = "proven"
	Refuted  Stage = "refuted" // nothing is merged; Reason says why
)

// The constants of the proof.
const (
	probesNeeded = 2 // with rows of different callers
	// ProbeMembers is how many items a probe should have at most: each is also asked alone.
	ProbeMembers = 4
	shadowShare  = 0.001 // of merged calls that are checked
	probeAgain   = 10 * time.Minute
	probeMost    = 24 * time.Hour
	inconclusive = 8 // probes that prove nothing before there is a pause
)

// Outcome is what a probe or a shadow check found.
type Outcome struct {
	// Void says that the model server was away or too slow, so that nothing can be said at all: a probe is made again.
	Void bool
	// Alone says that every item was answered alone. Where one was not, nothing is proven.
	Alone bool
	// Merged says that the merged call was answered and could be cut; Reason why it could not.
	Merged bool
	Equal  bool   // every row was the same, by Same
	Reason string // for people, without contents
}

// ProofState is a proof in a form that is stored.
type ProofState struct {
	Stage  Stage         `json:"stage"`
	Reason string        `json:"reason,omitempty"`
	Again  time.Time     `json:"again,omitzero"` // when a refuted route may be probed again; zero: never
	Pause  time.Duration `json:"pause,omitempty"`
}

// Proof decides whether rows of a route may be merged. A probe sends rows alone and in one call; callers get the
// answers they had alone, so no probe can harm them. Afterwards one merged call in a thousand is checked by asking
// one of its members alone as well. A caller that has seen a wrong row ends merging until the route is changed.
type Proof struct {
	mode   Mode
	state  ProofState
	proven int
	vain   int
}

// NewProof starts from a stored state; a probe that ran when it was stored counts as not begun.
func NewProof(mode Mode, s ProofState) *Proof {
	if s.Stage != Proven && s.Stage != Refuted {
		s = ProofState{Stage: Unproven}
	}
	return &Proof{mode: mode, state: s}
}

// State is what to store and to show.
func (p *Proof) State() ProofState { return p.state }

// May says whether rows may be merged now.
func (p *Proof) May() bool {
	return p.mode == On || p.mode == Auto && p.state.Stage == Proven
}

// Due says whether a probe may begin.
func (p *Proof) Due(now time.Time) bool {
	switch p.state.Stage {
	case Unproven:
		return p.mode == Auto
	case Refuted:
		return p.mode == Auto && !p.state.Again.IsZero() && !now.Before(p.state.Again)
	case Probing, Proven:
	}
	return false
}

// Probe says whether the next rows that could be merged should be a probe instead; the caller must report with Probed.
func (p *Proof) Probe(now time.Time) bool {
	if !p.Due(now) {
		return false
	}
	p.state.Stage = Probing
	return true
}

// Probed ends a probe.
func (p *Proof) Probed(o Outcome, now time.Time) {
	if p.state.Stage != Probing {
		return
	}
	switch {
	case o.Void:
		p.state.Stage = Unproven
	case o.Alone && o.Merged && o.Equal:
		p.vain = 0
		if p.proven++; p.proven >= probesNeeded {
			p.state = ProofState{Stage: Proven}
			return
		}
		p.state.Stage = Unproven
	case o.Alone && !o.Merged:
		p.refute("a merged call failed though each row alone was answered: "+o.Reason, now)
	case o.Alone:
		p.refute("rows are answered differently in company: "+o.Reason, now)
	default:
		if p.vain++; p.vain >= inconclusive {
			p.refute("rows fail when they are asked alone, so nothing can be proven", now)
			return
		}
		p.state.Stage = Unproven
	}
}

// Shadow says whether one member of the merged call that goes out should be asked alone as well. chance is a random
// number from 0 to 1.
func (p *Proof) Shadow(chance float64) bool {
	return p.mode == Auto && p.state.Stage == Proven && chance < shadowShare
}

// Shadowed ends a shadow check. A member that could not be asked alone proves nothing.
func (p *Proof) Shadowed(o Outcome) {
	if o.Alone && o.Merged && !o.Equal && p.state.Stage == Proven {
		p.state = ProofState{Stage: Refuted, Reason: "a row was answered differently in company after the proof: " + o.Reason}
		p.proven = 0
	}
}

func (p *Proof) refute(reason string, now time.Time) {
	pause := min(max(2*p.state.Pause, probeAgain), probeMost)
	p.state = ProofState{Stage: Refuted, Reason: reason, Again: now.Add(pause), Pause: pause}
	p.proven, p.vain = 0, 0
}
