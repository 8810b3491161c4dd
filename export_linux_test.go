package corral

// GiveBack ends the guard and removes the control groups that are kept for the next
// run, and returns when that is done: the tests are the last program of their PID
// namespace mostly, whose end would take the guard before it has cleaned up.
func GiveBack() {
	owner.mu.Lock()
	if owner.inUse > 0 || owner.home == nil {
		owner.mu.Unlock()
		return
	}
	old := owner.retire()
	owner.mu.Unlock()
	old.end()
}

// WaitCalled reports whether somebody waits for the run.
func WaitCalled(c *Cmd) bool { return c.run.waitCalled.Load() }
