package joblist

import (
	"path/filepath"
	"sync"
	"testing"
)

// Front ends of one machine that open the same new file at the same moment share it.
func TestFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		path := filepath.Join(t.TempDir(), "jobs.db")
		var opening sync.WaitGroup
		for range 4 {
			opening.Go(func() {
				db, err := open(t.Context(), path)
				if err != nil {
					t.Errorf("opening: %v", err)
					return
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
	}
}
