// Package stub starts helpers that have no runtime, which take a fraction of the
// time. Package bare is what runs in them.
package stub

// Switch is an environment variable for tests. There are no stubs if it is "off".
// If it is "always", they are forks, however much memory there is; if it is
// "early", keepers never are.
const Switch = "CORRAL_STUB"
