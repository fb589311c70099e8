package main

import (
	"time"
)

// link is a direction from one member to another.
type link struct{ from, to int }

func (l *lab) from(m *member) []link {
	var links []link
	for _, one := range l.others(m) {
		links = append(links, link{m.index, one.index})
	}
	return links
}

func (l *lab) to(m *member) []link {
	var links []link
	for _, one := range l.others(m) {
		links = append(links, link{one.index, m.index})
	}
	return links
}

func (l *lab) allLinks() []link {
	var links []link
	for _, m := range l.members {
		links = append(links, l.from(m)...)
	}
	return links
}

// apply takes these directions away and lets all others be.
func (l *lab) apply(links []link) error {
	return each(l.members, func(m *member) error {
		var rules []string
		for _, one := range links {
			if one.to == m.index {
				rules = append(rules, "ip saddr "+
					l.members[one.from].addr+" drop")
			}
		}
		return m.filter(rules...)
	})
}

// cut takes directions away until the end.
func cut(r *round, links []link) (struck, error) {
	return struck{left: r.connected(links), lift: func() error {
		return r.apply(nil)
	}}, r.apply(links)
}

// connected are the pairs between which both directions are there: they are a
// majority, and one of those has to find a leader. A pair that the present
// leader isn't part of only has to if none is that it is.
func (r *round) connected(without []link) [][]*member {
	gone := map[link]bool{}
	for _, one := range without {
		gone[one] = true
	}
	var pairs [][]*member
	for i, a := range r.members {
		for j, b := range r.members[:i] {
			if !gone[link{i, j}] && !gone[link{j, i}] {
				pairs = append(pairs, []*member{a, b})
			}
		}
	}
	return pairs
}

// shape numbers the 63 ways to take some of the directions.
func (l *lab) shape(number int) []link {
	var links []link
	for i, one := range l.allLinks() {
		if number>>i&1 == 1 {
			links = append(links, one)
		}
	}
	return links
}

const shapes = 63

// cutShape takes another shape each round: 37 and 63 have no common divisor.
func cutShape(r *round) (struck, error) {
	return cut(r, r.shape(1+(int(r.seed%shapes)+r.number*37)%shapes))
}

// flap cuts in another shape again and again until the end.
func flap(r *round) (struck, error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	var numbers []int
	var pauses []time.Duration
	for range 100 {
		numbers = append(numbers, r.rng.IntN(shapes+1))
		pauses = append(pauses, between(r.rng, 100*time.Millisecond,
			900*time.Millisecond))
	}
	go func() {
		for i, number := range numbers {
			if err := r.apply(r.shape(number)); err != nil {
				done <- err
				return
			}
			select {
			case <-stop:
				done <- r.apply(nil)
				return
			case <-time.After(pauses[i]):
			}
		}
		<-stop
		done <- r.apply(nil)
	}()
	return struck{lift: func() error {
		close(stop)
		return <-done
	}}, nil
}

// lose drops 30 of 100 packets that come in at each member and match.
func lose(r *round, match string) (struck, error) {
	return struck{lift: func() error { return r.apply(nil) }},
		each(r.members, func(m *member) error {
			return m.filter(match + "numgen random mod 100 < 30 drop")
		})
}
