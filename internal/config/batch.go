package config

import (
	"time"

	"headrace/internal/inference"
)

// Defaults of [routes.batch].
const (
	defaultMaxItems   = 128
	defaultMaxBytes   = "4MiB"
	defaultGatherMax  = 2 * time.Millisecond
	defaultLatencyMax = time.Second
)

// readBatch reads how far requests of a route may share calls. Conversations never do: a model server answers the
// first one and drops the others without a word.
func readBatch(t *table, kind inference.Type) inference.Batch {
	b := t.section("batch")
	defer b.finish()
	batch := inference.Batch{
		Mode:       inference.BatchMode(b.text("mode", string(inference.BatchAuto))),
		MaxItems:   b.count("max_items", defaultMaxItems, 1),
		MaxBytes:   b.size("max_bytes", defaultMaxBytes),
		GatherMax:  b.pause("gather_max", defaultGatherMax),
		LatencyMax: b.pause("latency_max", defaultLatencyMax),
	}
	modes := []string{string(inference.BatchAuto), string(inference.BatchOn), string(inference.BatchOff)}
	switch batch.Mode {
	case inference.BatchAuto, inference.BatchOff:
	case inference.BatchOn:
		if kind == inference.Chat {
			b.complain("mode", `leave it out, or write "off"`, "calls of the type %s cannot share a call to the model server", kind)
		}
	default:
		b.complain("mode", oneOf(string(batch.Mode), modes), "%q is not a mode", batch.Mode)
	}
	if kind == inference.Chat {
		batch.Mode = inference.BatchOff
	}
	return batch
}

// pause is a duration that may be 0.
func (t *table) pause(name string, fallback time.Duration) time.Duration {
	if v, _ := t.get(name); v == "0" || v == "0s" || v == "0ms" {
		return 0
	}
	return t.duration(name, fallback)
}
