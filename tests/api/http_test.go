package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"chorad.tests/api/harness"
)

// page is what one HTTP request gave, in the form that can be compared.
type page struct {
	Status int
	Header map[string]string
	Body   string
}

var comparedHeaders = []string{"Content-Type", "Allow",
	"X-Content-Type-Options", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Headers"}

func fetch(t *testing.T, method, url string, header ...string) page {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: 15 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	p := page{response.StatusCode, map[string]string{}, string(body)}
	for _, name := range comparedHeaders {
		if value := response.Header.Get(name); value != "" {
			p.Header[name] = value
		}
	}
	return p
}

func (p page) equal(q page) bool {
	if p.Status != q.Status || sortedLines(p.Body) != sortedLines(q.Body) {
		return false
	}
	for _, name := range comparedHeaders {
		if p.Header[name] != q.Header[name] {
			return false
		}
	}
	return true
}

// sortedLines makes bodies comparable: etcd lists its checks in random order.
func sortedLines(body string) string {
	all := strings.Split(body, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// quiet keeps the client library from logging.
var quiet = zap.NewNop()

func httpClient(t *testing.T, s *harness.Server) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint}, DialTimeout: 10 * time.Second,
		Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestHTTP compares the endpoints beside gRPC with the real etcd's.
func TestHTTP(t *testing.T) {
	tested := harness.Start(t, harness.Options{})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	t.Run("healthy", func(t *testing.T) { comparePages(t, tested, etcd) })
	t.Run("version", func(t *testing.T) { testVersionPage(t, tested) })
	t.Run("literal", func(t *testing.T) { testLiteralPages(t, tested) })
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE,
		pb.AlarmType_CORRUPT} {
		t.Run(alarm.String(), func(t *testing.T) {
			setAlarm(t, tested, alarm, pb.AlarmRequest_ACTIVATE)
			setAlarm(t, etcd, alarm, pb.AlarmRequest_ACTIVATE)
			comparePages(t, tested, etcd)
			setAlarm(t, tested, alarm, pb.AlarmRequest_DEACTIVATE)
			setAlarm(t, etcd, alarm, pb.AlarmRequest_DEACTIVATE)
		})
	}
	t.Run("listeners", testHTTPListeners)
	t.Run("origins", testHTTPOrigins)
}

func setAlarm(t *testing.T, s *harness.Server, alarm pb.AlarmType,
	action pb.AlarmRequest_AlarmAction) {
	t.Helper()
	client := httpClient(t, s)
	status, err := client.Status(timeout(t), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(
		timeout(t), &pb.AlarmRequest{Action: action, Alarm: alarm,
			MemberID: status.Header.MemberId})
	if err != nil {
		t.Fatal(err)
	}
}

func comparePages(t *testing.T, tested, etcd *harness.Server) {
	for _, line := range []string{
		"GET /health", "GET /health?exclude=NOSPACE",
		"GET /health?exclude=NOSPACE&exclude=CORRUPT",
		"GET /health?exclude=CORRUPT&exclude=UNKNOWN",
		"GET /health?serializable=true", "GET /health?serializable=false",
		"POST /health", "PUT /health", "HEAD /health", "OPTIONS /health",
		"GET /livez", "GET /livez?verbose", "GET /livez?verbose=false",
		"GET /livez?exclude=serializable_read&verbose",
		"GET /livez/serializable_read", "GET /livez/serializable_read?verbose",
		"GET /livez/linearizable_read", "GET /livez/", "POST /livez",
		"GET /readyz", "GET /readyz?verbose", "GET /readyz/data_corruption",
		"GET /readyz/serializable_read", "GET /readyz/linearizable_read",
		"GET /readyz/non_learner?verbose", "GET /readyz/nothing",
		"GET /readyz?exclude=data_corruption&verbose",
		"GET /readyz?exclude=nothing&verbose", "POST /readyz",
		"GET /v2/keys", "GET /v2", "GET /nothing", "POST /version",
		"DELETE /nothing", "OPTIONS /nothing", "GET /health/x",
		"GET /debug/pprof/",
	} {
		method, path, _ := strings.Cut(line, " ")
		a := fetch(t, method, tested.ClientURL+path)
		b := fetch(t, method, etcd.ClientURL+path)
		if !a.equal(b) {
			t.Errorf("%s: got %+v, etcd gives %+v", line, a, b)
		}
	}
}

func testVersionPage(t *testing.T, s *harness.Server) {
	var p page
	// The storage gets its version soon after the start.
	harness.Eventually(10*time.Second, func() bool {
		p = fetch(t, "GET", s.ClientURL+"/version")
		return strings.Contains(p.Body, `"storage":"3.7.0"`)
	})
	var version map[string]string
	if err := json.Unmarshal([]byte(p.Body), &version); err != nil {
		t.Fatalf("%v: %s", err, p.Body)
	}
	if p.Header["Content-Type"] != "application/json" || len(version) != 3 ||
		!harness.Matches("{v}", version["etcdserver"]) ||
		version["etcdcluster"] != "3.7.0" || version["storage"] != "3.7.0" {
		t.Errorf("/version gives %+v", p)
	}
}

// testLiteralPages holds what scripts and probes look for, whatever the
// installed etcd says.
func testLiteralPages(t *testing.T, s *harness.Server) {
	for path, want := range map[string]page{
		"/health":                  {200, nil, `{"health":"true","reason":""}`},
		"/livez":                   {200, nil, "ok\n"},
		"/readyz":                  {200, nil, "ok\n"},
		"/livez/serializable_read": {200, nil, "ok\n"},
		"/nothing":                 {404, nil, "404 page not found\n"},
	} {
		p := fetch(t, "GET", s.ClientURL+path)
		if p.Status != want.Status || p.Body != want.Body {
			t.Errorf("%s gives %+v, wanted %+v", path, p, want)
		}
	}
	// The same connection serves one request after the other.
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for i := range 50 {
		response, err := client.Get(s.ClientURL + "/health")
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

// testHTTPListeners splits the HTTP part off the client port.
func testHTTPListeners(t *testing.T) {
	ports := harness.FreePorts(t, 3)
	url := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", ports[i]) }
	s := harness.Start(t, harness.Options{HTTPURL: url(0), Args: []string{
		"--listen-client-http-urls", url(0),
		"--listen-metrics-urls", url(1) + "," + url(2)}})
	for _, path := range []string{"/health", "/livez", "/readyz?verbose",
		"/metrics", "/version"} {
		p := fetch(t, "GET", url(0)+path)
		if p.Status != 200 || p.Header["Access-Control-Allow-Origin"] != "*" {
			t.Errorf("HTTP URL: %s gives %d, %v", path, p.Status, p.Header)
		}
	}
	for _, base := range []string{url(1), url(2)} {
		for path, status := range map[string]int{"/health": 200, "/livez": 200,
			"/readyz/non_learner": 200, "/metrics": 200, "/version": 404,
			"/debug/vars": 404, "/": 404} {
			p := fetch(t, "GET", base+path)
			if p.Status != status ||
				p.Header["Access-Control-Allow-Origin"] != "" {
				t.Errorf("metrics URL: %s gives %d, %v", path, p.Status,
					p.Header)
			}
		}
	}
	plain := &http.Client{Timeout: 2 * time.Second}
	if response, err := plain.Get(s.ClientURL + "/health"); err == nil {
		response.Body.Close()
		t.Errorf("the client URL still answers HTTP: %s", response.Status)
	}
	client := httpClient(t, s)
	if _, err := client.Put(timeout(t), "a", "1"); err != nil {
		t.Error(err)
	}
}

// testHTTPOrigins sets --cors and --host-whitelist.
func testHTTPOrigins(t *testing.T) {
	args := []string{"--cors", "http://good.example:80", "--host-whitelist",
		"127.0.0.1,good.example"}
	tested := harness.Start(t, harness.Options{Args: args})
	etcd := harness.Start(t, harness.Options{Args: args,
		Binary: harness.Tool(t, "etcd")})
	for _, header := range [][]string{{}, {"Origin", "http://good.example:80"},
		{"Origin", "http://bad.example"}, {"Host", "bad.example"},
		{"Host", "good.example"}, {"Host", "good.example:1234"},
		{"Host", "bad.example:80"}, {"Host", "localhost"}} {
		for _, path := range []string{"/health", "/nothing"} {
			a := fetch(t, "GET", tested.ClientURL+path, header...)
			b := fetch(t, "GET", etcd.ClientURL+path, header...)
			if a.Status == 421 && b.Status == 421 {
				// The text of this answer is free.
				a.Body, b.Body = "", ""
			}
			if !a.equal(b) {
				t.Errorf("%s with %v: got %+v, etcd gives %+v", path, header,
					a, b)
			}
		}
	}
}
