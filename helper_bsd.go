//go:build darwin || freebsd

package corral

// helperMain is what a helper does, nil if role is not the name of one. There
// are no control groups to guard.
func helperMain(role string) func() {
	if role == keeperRole {
		return keeperMain
	}
	return nil
}
