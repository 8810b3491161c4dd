package winetest

import "golang.org/x/sys/windows"

// Detected reports whether this is Wine.
func Detected() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}
