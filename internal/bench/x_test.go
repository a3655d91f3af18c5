package bench
import ("testing";"fmt")
func TestX(t *testing.T) {
	rs, err := Run(t.Context(), Options{Works: []string{"mutate"}})
	for _, r := range rs { fmt.Printf("%+v\n", r) }
	if err != nil { t.Fatal(err) }
}
