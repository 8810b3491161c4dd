// Package diff says how two values differ, for tests. It is for the few types that
// they compare, so that Corral needs no module for it.
package diff

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Of returns one line for each part in which got differs from want, with its path,
// and "" if they are deeply equal. It looks at unexported fields too. Nil and empty
// slices and maps differ, as in reflect.DeepEqual. It compares text of several
// lines line by line.
func Of(want, got any) string {
	var found []string
	compare(&found, "", reflect.ValueOf(&want).Elem(), reflect.ValueOf(&got).Elem())
	return strings.Join(found, "\n")
}

func compare(found *[]string, path string, want, got reflect.Value) {
	differ := func() { *found = append(*found, fmt.Sprintf("%s: want %s, got %s", path, text(want), text(got))) }
	if want.IsValid() != got.IsValid() || want.IsValid() && want.Type() != got.Type() {
		differ()
		return
	}
	if !want.IsValid() {
		return
	}
	switch want.Kind() {
	case reflect.Struct:
		for i := range want.NumField() {
			compare(found, path+"."+want.Type().Field(i).Name, want.Field(i), got.Field(i))
		}
	case reflect.Pointer, reflect.Interface:
		if want.IsNil() || got.IsNil() {
			if want.IsNil() != got.IsNil() {
				differ()
			}
			return
		}
		compare(found, path, want.Elem(), got.Elem())
	case reflect.Slice, reflect.Array:
		if want.Kind() == reflect.Slice && want.IsNil() != got.IsNil() {
			differ()
			return
		}
		for i := range max(want.Len(), got.Len()) {
			compare(found, fmt.Sprintf("%s[%d]", path, i), at(want, i), at(got, i))
		}
	case reflect.Map:
		if want.IsNil() != got.IsNil() {
			differ()
			return
		}
		keys := want.MapKeys()
		for _, key := range got.MapKeys() {
			if !want.MapIndex(key).IsValid() {
				keys = append(keys, key)
			}
		}
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(text(a), text(b)) })
		for _, key := range keys {
			compare(found, fmt.Sprintf("%s[%s]", path, text(key)), want.MapIndex(key), got.MapIndex(key))
		}
	case reflect.String:
		if w, g := strings.Split(want.String(), "\n"), strings.Split(got.String(), "\n"); len(w) > 1 && len(g) > 1 {
			compare(found, path+" line ", reflect.ValueOf(w), reflect.ValueOf(g))
			return
		}
		if want.String() != got.String() {
			differ()
		}
	default:
		if !want.Equal(got) {
			differ()
		}
	}
}

// at returns an element, or no value past the end of the list.
func at(list reflect.Value, i int) reflect.Value {
	if i >= list.Len() {
		return reflect.Value{}
	}
	return list.Index(i)
}

func text(v reflect.Value) string {
	switch {
	case !v.IsValid():
		return "nothing"
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprintf("%+v", v)
}
