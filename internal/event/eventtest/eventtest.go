// Package eventtest holds events against docs/events.schema.json, for tests.
package eventtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Schema is as much of JSON Schema as docs/events.schema.json uses. What else there
// is in a file is an error of Load.
type Schema struct {
	Title       string             `json:"title"`
	Description string             `json:"description"`
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Const       any                `json:"const"`
	Enum        []string           `json:"enum"`
	Minimum     *float64           `json:"minimum"`
	Items       *Schema            `json:"items"`
	Required    []string           `json:"required"`
	Properties  map[string]*Schema `json:"properties"`
	// Names are those of Properties in the order of the file.
	Names                []string  `json:"-"`
	AdditionalProperties *bool     `json:"additionalProperties"`
	OneOf                []*Schema `json:"oneOf"`
	Dialect              string    `json:"$schema"`
}

// Load reads a schema.
func Load(path string) (*Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(Schema)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var order struct {
		OneOf []struct {
			Properties json.RawMessage `json:"properties"`
		} `json:"oneOf"`
	}
	if err := json.Unmarshal(text, &order); err != nil {
		return nil, err
	}
	for i, one := range order.OneOf {
		s.OneOf[i].Names = keys(one.Properties)
	}
	return s, nil
}

// keys returns the keys of an object in their order.
func keys(object json.RawMessage) (names []string) {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.Token()
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return names
		}
		names = append(names, name.(string))
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return names
		}
	}
	return names
}

// Check returns what is wrong with a line.
func (s *Schema) Check(line []byte) error {
	var v any
	if err := json.Unmarshal(line, &v); err != nil {
		return fmt.Errorf("%w: %s", err, line)
	}
	event, _ := v.(map[string]any)
	for _, one := range s.OneOf {
		if kind := one.Properties["event"]; kind != nil && kind.Const == event["event"] {
			if err := one.check(v, one.Title); err != nil {
				return fmt.Errorf("%w: %s", err, line)
			}
			return nil
		}
	}
	return fmt.Errorf("there is no such event: %s", line)
}

func (s *Schema) check(v any, at string) error {
	wrong := func() error { return fmt.Errorf("%s is %v (%T)", at, v, v) }
	if s.Const != nil && s.Const != v || s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e string) bool { return e == v }) {
		return wrong()
	}
	number, isNumber := v.(float64)
	if s.Minimum != nil && (!isNumber || number < *s.Minimum) {
		return wrong()
	}
	switch s.Type {
	case "":
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong()
		}
		if _, err := time.Parse(time.RFC3339Nano, text); s.Format == "date-time" && err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	case "integer":
		if !isNumber || number != float64(int64(number)) {
			return wrong()
		}
	case "number":
		if !isNumber {
			return wrong()
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong()
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return wrong()
		}
		for i, item := range list {
			if err := s.Items.check(item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "object":
		return s.checkObject(v, at)
	default:
		return fmt.Errorf("%s: this test does not know the type %s", at, s.Type)
	}
	return nil
}

func (s *Schema) checkObject(v any, at string) error {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is %v", at, v)
	}
	for _, name := range s.Required {
		if _, there := object[name]; !there {
			return fmt.Errorf("%s has no %s", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		property := s.Properties[name]
		if property == nil {
			return fmt.Errorf("%s has %s, which is not in the schema", at, name)
		}
		if err := property.check(object[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}
