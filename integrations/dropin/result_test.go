//go:build linux

package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	r, err := read([]byte(strings.Join([]string{
		`{"Action":"run","Package":"p","Test":"A"}`,
		`{"Action":"output","Package":"p","Test":"A","Output":"why\n"}`,
		`{"Action":"fail","Package":"p","Test":"A"}`,
		`{"Action":"pass","Package":"p","Test":"A"}`, // with -count
		`{"Action":"pass","Package":"p","Test":"B/b"}`,
		`{"Action":"skip","Package":"p","Test":"C"}`,
		`{"Action":"fail","Package":"p"}`, // A is to blame
		`{"Action":"pass","Package":"q"}`,
		`{"Action":"fail","Package":"r"}`, // does not compile
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"p A": "fail", "p B/b": "pass", "p C": "skip", "r": "fail"}
	if !reflect.DeepEqual(r.tests, want) || r.output["p A"] != "why\n" || r.failures["p A"] != 1 || r.String() != "1 pass 2 fail 1 skip" {
		t.Errorf("%+v, %v", r, r)
	}
}
