package healthcheck_test

import (
	"math"
	"strings"
	"testing"

	"github.com/flightrules/flightrules/plugins/healthcheck"
)

func TestAnOpinionChangesWhenEnoughResultsInARowSaySo(t *testing.T) {
	const none = "-"
	letters := map[string]string{"": none, "up": "U", "degraded": "G", "down": "D"}
	for name, c := range map[string]struct {
		failures, successes int
		results, want       string
	}{
		"the first success is enough at first":               {3, 2, "U", "U"},
		"failures at first are not known before there are 3": {3, 2, "DDD", "--D"},
		"two failures are not three":                         {3, 2, "UDDUDDU", "UUUUUUU"},
		"three are":                                          {3, 2, "UDDD", "UUUD"},
		"one success does not end it":                        {3, 2, "UDDDUDUU", "UUUDDDDU"},
		"one of each is enough when so configured":           {1, 1, "UDUD", "UDUD"},
		"slow ones count as bad, but not as down":            {3, 2, "UGDG", "UUUG"},
		"down after degraded wants its own row":              {3, 2, "UGGGDDD", "UUUGGGD"},
		"answers that are slow end down":                     {3, 2, "UDDDGG", "UUUDDG"},
		"a mixture of answers ends down as degraded":         {3, 2, "UDDDUG", "UUUDDG"},
		"degraded ends with successes":                       {3, 2, "UGGGUU", "UUUGGU"},
		"what could not be had breaks no row":                {3, 2, "UDEDED", "UUUUUD"},
		"and adds to none":                                   {3, 2, "UEEE", "UUUU"},
		// HB-18: unknown and critical do not add up before the third attempt.
		"an unknown, then criticals": {3, 1, "EDDDUDU", "---DUUU"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, o := range healthcheck.Judge(c.failures, c.successes, 25, 30, c.results) {
				got.WriteString(letters[o.Status])
			}
			if got.String() != c.want {
				t.Errorf("%s gives %s, want %s", c.results, got.String(), c.want)
			}
		})
	}
}

func TestAnObserverThatCannotLookDoesNotCount(t *testing.T) {
	got := healthcheck.Judge(3, 2, 25, 30, "UEEEU")
	for i, want := range []bool{true, true, true, false, true} {
		if got[i].Observing != want {
			t.Errorf("after result %d it counts: %t", i+1, got[i].Observing)
		}
	}
}

// HB-12 and HB-14.
func TestFlappingIsWeighed(t *testing.T) {
	for i, o := range healthcheck.Judge(1, 1, 25, 30, strings.Repeat("DU", 13)) {
		if want := i >= 5; o.Flapping != want {
			t.Errorf("after %d alternating results it is flapping: %t", i+1, o.Flapping)
		}
	}
	// C is critical, W a warning, O all right.
	results := strings.NewReplacer("C", "D", "W", "G", "O", "U").Replace("CCCWCWOOOOWWWWOOOWWWC")
	if got := healthcheck.Change(results); math.Abs(got-39.1) > 0.001 {
		t.Errorf("it changes by %.3f %%", got)
	}
	list := healthcheck.Judge(1, 1, 25, 30, results+"DDDDDDD")
	if !list[20].Flapping {
		t.Error("it is not flapping")
	}
	if last := list[len(list)-1]; last.Flapping {
		t.Error("it is still flapping")
	} else if last.Status != "down" {
		t.Errorf("it comes to rest as %s", last.Status)
	}
}

// HB-10: between low and high it stays as it was.
func TestFlappingHasTwoThresholds(t *testing.T) {
	const (
		five    = "UUUUUUUUUUUUUUUUUUUUD" // 5.9 %
		fifteen = "UUUUUUUUUUUUUUUUUUDUD" // 17.4 %
		more    = "UUUUUUUUUUUUUUUUDUDUD" // 28.5 % with low 10, high 25
	)
	for _, c := range []struct {
		was     bool
		results string
		want    bool
	}{{true, fifteen, true}, {true, five, false}, {false, more, true}, {false, fifteen, false}, {false, five, false}} {
		if got := healthcheck.Turn(c.was, c.results, 10, 25); got != c.want {
			t.Errorf("it was %t, changes by %.1f %% and is %t", c.was, healthcheck.Change(c.results), got)
		}
	}
}
