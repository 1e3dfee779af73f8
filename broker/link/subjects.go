package link

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// SubjectsIn returns the subjects of the messages in a stream and the count of each; none when the stream does not exist.
// Use it only for streams that have few subjects.
func (l *Link) SubjectsIn(ctx context.Context, stream string) (map[string]uint64, error) {
	st, err := l.JS.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, err
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, err
	}
	return info.State.Subjects, nil
}
