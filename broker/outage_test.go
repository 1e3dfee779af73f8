package broker_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/internal/job"
)

// These are long; `make cluster` runs them.
const (
	// perSecond is how many calls and how many jobs there are each second.
	perSecond = 40
	// callTimeout is how long a caller waits.
	callTimeout = 20 * time.Second
	// prompt is how soon a good answer comes.
	prompt = 5 * time.Second
)

// outage is what goes wrong, and when, in seconds of a run.
type outage struct {
	name   string
	length int
	steps  []step
}

type step struct {
	at   int
	name string
	do   func(*both)
}

func TestOutages(t *testing.T) { //nolint:paralleltest // they measure
	only := os.Getenv("CLUSTER")
	if only == "" {
		t.Skip("CLUSTER is not set; make cluster sets it")
	}
	kill := func(n int) func(*both) { return func(b *both) { b.cluster.Nodes[n].Kill() } }
	back := func(n int) func(*both) { return func(b *both) { b.cluster.Nodes[n].Restart() } }
	for _, o := range []outage{ //nolint:paralleltest // they measure
		{"healthy", 20, nil},
		{"kill", 90, []step{
			{5, "kill n1", kill(0)},
			{25, "n1 back", back(0)},
			{35, "kill n2", kill(1)},
			{55, "n2 back", back(1)},
			{65, "kill n3", kill(2)},
			{85, "n3 back", back(2)},
		}},
		{"stop", 60, []step{
			{5, "stop n1", func(b *both) { b.cluster.Nodes[0].Stop() }},
			{15, "n1 back", back(0)},
			{25, "stop n2", func(b *both) { b.cluster.Nodes[1].Stop() }},
			{35, "n2 back", back(1)},
			{45, "stop n3", func(b *both) { b.cluster.Nodes[2].Stop() }},
			{55, "n3 back", back(2)},
		}},
		{"lame duck", 30, []step{{5, "lame duck n1", func(b *both) { b.cluster.Nodes[0].LameDuck() }}, {20, "n1 back", back(0)}}},
		{"freeze", 40, []step{
			{5, "freeze n1", func(b *both) { b.cluster.Nodes[0].Freeze() }}, {20, "thaw n1", func(b *both) { b.cluster.Nodes[0].Thaw() }},
		}},
		{"no broker role", 50, []step{
			{5, "broker role ends", func(b *both) { b.stopBroker() }},
			{10, "kill n1", kill(0)},
			{12, "n1 back", back(0)},
			{40, "broker role begins", func(b *both) { b.broker() }},
		}},
		{"two of three", 45, []step{
			{5, "kill n1, n2", func(b *both) { kill(0)(b); kill(1)(b) }}, {17, "both back", func(b *both) { back(0)(b); back(1)(b) }},
		}},
	} {
		if only == "1" || strings.Contains(","+only+",", ","+o.name+",") {
			t.Run(o.name, o.run)
		}
	}
}

func (o outage) run(t *testing.T) {
	b := newBoth(t, 12)
	called, placed := b.run(perSecond, time.Duration(o.length)*time.Second, callTimeout, func() {
		began := time.Now()
		for _, s := range o.steps {
			link.PauseFor(t.Context(), time.Until(began.Add(time.Duration(s.at)*time.Second)))
			s.do(b)
		}
	})
	all := b.ends(placed, 90*time.Second)
	t.Logf("%s: %s", o.name, o.describe())
	t.Logf("calls: %s", summary(called))
	t.Logf("jobs accepted: %s", summary(placed))
	lost, ran, interrupted := 0, 0, 0
	var late int
	for _, one := range all {
		switch {
		case one.record == nil:
			lost++
			continue
		case one.record.State != job.Succeeded:
			t.Errorf("job %s is %s", one.id, one.record.State)
		}
		ran += one.record.Starts
		if one.record.Starts > 1 {
			interrupted++
		}
		if one.wait > slow {
			late++
		}
	}
	t.Logf("jobs started: %s; %d more than %s late; %d started more than once; %d lost of %d", spread(waits(all)), late, slow, interrupted, lost, len(all))
	if lost > 0 {
		t.Errorf("%d accepted jobs did not end", lost)
	}
	if len(o.steps) == 0 && (late > 0 || failures(called) != "" || failures(placed) != "") {
		t.Errorf("%d jobs began late on a healthy cluster", late)
	}
}

func (o outage) describe() string {
	parts := make([]string, len(o.steps))
	for i, s := range o.steps {
		parts[i] = fmt.Sprintf("%d s: %s", s.at, s.name)
	}
	return strings.Join(parts, "; ")
}

// summary says how many requests were good, in which seconds they were not, and how the others failed.
func summary(all []asked) string {
	type second struct{ all, good int }
	var seconds []second
	good := 0
	for _, one := range all {
		n := int(one.at / time.Second)
		for len(seconds) <= n {
			seconds = append(seconds, second{})
		}
		seconds[n].all++
		if one.err == nil && one.took <= prompt {
			seconds[n].good++
			good++
		}
	}
	bad := 0
	var shares strings.Builder
	for n, s := range seconds {
		if s.good*100 < s.all*99 {
			bad++
			fmt.Fprintf(&shares, " %d:%d%%", n, s.good*100/s.all)
		}
	}
	text := fmt.Sprintf("%d of %d good within %s; %d s with less than 99 %%%s; times of all answers: %s", good, len(all), prompt, bad, shares.String(), spread(times(all)))
	if why := failures(all); why != "" {
		text += "\n" + why
	}
	return text
}
