package kafkaproto

import "reflect"

// nullable are the fields of responses that may be null.
var nullable = map[string]bool{"AbortedTransactions": true, "RecordBatches": true, "EligibleLeaderReplicas": true, "LastKnownELR": true}

// fill puts one element into each array of structs, so that their fields are seen, too, and makes every other slice nil or empty. Those that may be null stay nil.
func fill(message any, empty bool) { fillValue(reflect.ValueOf(message).Elem(), "", empty) }

func fillValue(v reflect.Value, name string, empty bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "UnknownTags" {
				fillValue(f, v.Type().Field(i).Name, empty)
			}
		}
	case reflect.Slice:
		switch {
		case nullable[name]:
		case v.Type().Elem().Kind() == reflect.Struct:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fillValue(v.Index(0), name, empty)
		case empty:
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		default:
			v.SetZero()
		}
	}
}
