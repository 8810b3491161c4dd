package corraltest

import "time"

// SetPatience gives what is left so long to end.
func SetPatience(d time.Duration) { patience = d }
