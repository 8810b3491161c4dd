//go:build darwin || freebsd

package corral

var ladder = []mechanism{{Keeper, openKeeper}, {Group, openGroup}}
