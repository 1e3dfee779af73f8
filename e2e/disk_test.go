package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// A disk that is full: no job is accepted, what was accepted can be read, and once there is room again everything goes
// on by itself.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	model.Handle(mlflowtest.Embeddings(4))
	for _, durability := range []string{"process", "power"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			d, client := newDisk(t, "", 256<<20), newClient(t)
			c := config{
				api: freeAddr(t), broker: freeAddr(t), data: d.dir, extra: fmt.Sprintf("durability = %q", durability),
				routes: route("endpoint", "emb", "llm/v1/embeddings", model.URL),
			}
			p := start(t, "up", "up", "--config", c.write(t))
			ready(t, client, c.api)
			for i := range 50 { // some in each stream
				put(t, client, c.api, fmt.Sprint("early-", i), "early")
				ended(t, client, c.api, fmt.Sprint("early-", i), 30*time.Second)
			}
			if err := d.fill(p.cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			tried := 0
			eventually(t, 60*time.Second, "a job is refused", func() bool {
				tried++
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				body := strings.NewReader(fmt.Sprintf(`{"route":"emb","input":{"input":%q}}`, strings.Repeat("x", 10_000)))
				req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("http://%s/v1/jobs/late-%d", c.api, tried), body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				return do(client, req).status == http.StatusServiceUnavailable
			})
			if a := get(t, client, c.api, "/v1/jobs/early-0/result"); a.status != http.StatusOK {
				t.Errorf("a result while the disk is full: %s", a)
			}
			if err := d.free(p.cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				put(t, client, c.api, fmt.Sprint("after-", i), "after")
			}
			for i := range 50 {
				ended(t, client, c.api, fmt.Sprint("after-", i), 60*time.Second)
				ended(t, client, c.api, fmt.Sprint("early-", i), 10*time.Second)
			}
			for i := 1; i < tried; i++ { // accepted before the first was refused
				ended(t, client, c.api, fmt.Sprint("late-", i), 60*time.Second)
			}
		})
	}
}
