package link

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// SubjectsIn gives the subjects that a stream holds messages of; none when there is no such stream. It is for streams whose
// subjects are few.
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
