package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 100 1000 10\n"
	if got, err := parseStat(stat); err != nil || got != 1100*time.Millisecond {
		t.Errorf("CPU time is %v, %v, want 1.1s", got, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 x 22 33 44 20"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	own, err := ownCPU()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if diff := own - tree; diff > time.Second || diff < -time.Second {
		t.Errorf("this process took %v by getrusage and %v by /proc", own, tree)
	}
	if n, err := peakMemory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("this process had at most %d bytes resident, %v", n, err)
	}
}
