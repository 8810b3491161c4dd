package winetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLost: a test that failed as Wine lost a process is known by what it has printed
// itself, and no other failure is taken for one.
func TestLost(t *testing.T) {
	script, err := filepath.Abs("../../.ci/wine")
	if err == nil {
		_, err = os.Stat(script)
	}
	if err != nil {
		t.Skip("SKIPPED: this is about a script of the whole repository: ", err)
	}
	const lost, other = "    x_test.go:1: fork/exec C:\\a.exe: Internal error.\r\n", "    x_test.go:1: got 1, want 2\n"
	for _, tt := range []struct{ name, log, tests string }{
		{"passed", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", ""},
		{"passed in spite of it", "=== RUN   TestA\n" + lost + "--- PASS: TestA (0.00s)\nPASS\n", ""},
		{"lost", "=== RUN   TestA\r\n" + lost + "--- FAIL: TestA (0.00s)\r\nFAIL\r\n", "TestA\n"},
		{"lost, and a panic", "=== RUN   TestA\n" + lost + "--- FAIL: TestA (0.00s)\npanic: nil\n\ngoroutine 1:\n", "TestA\n"},
		{"lost in a subtest", "=== RUN   TestA\n=== RUN   TestA/b\n" + lost + "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL\n", "TestA/b\n"},
		{"lost beside another that goes on", "=== RUN   TestA\n=== RUN   TestB\n=== CONT  TestA\n" + lost + "--- FAIL: TestA (0.00s)\n--- PASS: TestB (0.00s)\n", "TestA\n"},
		{"other", "=== RUN   TestA\n" + other + "--- FAIL: TestA (0.00s)\nFAIL\n", ""},
		{"other beside", "=== RUN   TestA\n" + lost + "--- FAIL: TestA (0.00s)\n=== RUN   TestAB\n" + other + "--- FAIL: TestAB (0.00s)\nFAIL\n", ""},
		{"other subtest", "=== RUN   TestA\n=== RUN   TestA/b\n" + lost + "=== RUN   TestA/c\n" + other + "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n    --- FAIL: TestA/c (0.00s)\nFAIL\n", ""},
		{"a panic in none", "=== RUN   TestA\n" + lost + "panic: test timed out\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(log, []byte(tt.log), 0o666); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("bash", script, "-lost", log)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if string(out) != tt.tests || (err == nil) != (tt.tests != "") {
				t.Errorf("%q, %v; want %q", out, err, tt.tests)
			}
		})
	}
}
