package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

func watchAll(start int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte{0},
			RangeEnd: []byte{0}, StartRevision: start}}}
}

// record books an event under its revision.
func record(book map[int64]change, event *mvccpb.Event) {
	value := string(event.Kv.Value)
	if event.Type == mvccpb.Event_DELETE {
		value = gone
	}
	at := event.Kv.ModRevision
	if book[at] == nil {
		book[at] = change{}
	}
	book[at][string(event.Kv.Key)] = value
}

// verifyHistory reads all events from the oldest revision on. They have to
// lead from the oldest state to the present one, hold every acknowledged
// write as it was, and everything that a watcher had been shown.
func (b *Book) verifyHistory(ctx context.Context, c *clients,
	now map[string]string, revision int64) error {
	events, compacted, err := readHistory(ctx, c, revision)
	if err != nil {
		return err
	}
	if compacted < b.compacted || compacted > b.tried {
		return fmt.Errorf("compacted to %d; acknowledged was %d, sent %d",
			compacted, b.compacted, b.tried)
	}
	state := map[string]string{}
	if compacted > 0 {
		if state, _, err = readAll(ctx, c, compacted); err != nil {
			return err
		}
	}
	for at := compacted + 1; at <= revision; at++ {
		for key, value := range events[at] {
			if value == gone {
				if _, ok := state[key]; !ok {
					return fmt.Errorf("revision %d deletes %s, which wasn't there",
						at, key)
				}
				delete(state, key)
			} else {
				state[key] = value
			}
		}
		// Every revision but the first is somebody's write.
		if len(events[at]) == 0 && at > 1 {
			return fmt.Errorf("the history has no revision %d", at)
		}
	}
	if !maps.Equal(state, now) {
		return fmt.Errorf("the history leads to %d keys, the range has %d: %s",
			len(state), len(now), stateDifference(now, state, nil))
	}
	return errors.Join(
		b.contained("acknowledged", b.acked, events, compacted),
		b.contained("shown to a watcher", b.seen, events, compacted))
}

func (b *Book) contained(name string, part, events map[int64]change,
	compacted int64) error {
	for at, what := range part {
		if at > compacted && !maps.Equal(what, events[at]) {
			return fmt.Errorf("revision %d: %s was %.200q, the history has %.200q",
				at, name, what, events[at])
		}
	}
	return nil
}

// readHistory gives the events by revision up to the given one, and the
// compacted revision, behind which they begin.
func readHistory(ctx context.Context, c *clients, upTo int64) (
	map[int64]change, int64, error) {
	events := map[int64]change{}
	compacted := int64(0)
	for attempt := 0; attempt < 3; attempt++ {
		again, err := readFrom(ctx, c, compacted+1, upTo, events)
		if err != nil {
			return nil, 0, err
		}
		if again == 0 {
			return events, compacted, nil
		}
		compacted = again
	}
	return nil, 0, errors.New("a watch behind the compacted revision fails")
}

// readFrom collects the events from a revision on; when that is compacted it
// gives the compacted revision.
func readFrom(ctx context.Context, c *clients, from, upTo int64,
	events map[int64]change) (int64, error) {
	if from > upTo {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.watch.Watch(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(watchAll(from)); err != nil {
		return 0, err
	}
	for newest := int64(1); newest < upTo; {
		reply, err := stream.Recv()
		if err != nil {
			return 0, fmt.Errorf("watch from %d, at %d of %d: %w", from, newest,
				upTo, err)
		}
		if reply.CompactRevision > 0 {
			return reply.CompactRevision, nil
		}
		for _, event := range reply.Events {
			if event.Kv.ModRevision < newest {
				return 0, fmt.Errorf("watch: revision %d after %d",
					event.Kv.ModRevision, newest)
			}
			newest = event.Kv.ModRevision
			record(events, event)
		}
	}
	return 0, nil
}
