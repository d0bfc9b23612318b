package postgres

import (
	"net/url"
	"testing"
	"time"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
)

// Over TCP, the database's operating system finds out within HoldTimeout that a
// server is cut off.
func TestKeepalive(t *testing.T) {
	srv := pgtest.Start(t)
	u, err := url.Parse(srv.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", "127.0.0.1")
	u.RawQuery = q.Encode()
	s, err := Open(t.Context(), u.String(), Options{Migrate: true, HoldTimeout: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]string{
		"tcp_keepalives_idle": "2", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "8000",
	} {
		var got string
		// "Show" asks the socket, current_setting would not.
		if err := s.commits.QueryRow(t.Context(), "show "+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, not %q; error %v", name, got, want, err)
		}
	}
}
