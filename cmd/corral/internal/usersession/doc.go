// Package usersession moves the calling process into a scope of the user's systemd
// manager: a unit with control groups of the user's own. A login session has none.
//
// It is for Linux.
package usersession
