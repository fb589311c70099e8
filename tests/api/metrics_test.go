package api

import (
	"bufio"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// family is one metric of an exposition page.
type family struct {
	Kind    string
	Labels  map[string]bool   // names of the labels, le left out
	Buckets map[string]bool   // values of le
	Series  map[string]string // value by the text before it
}

// parseMetrics reads a page of the text format.
func parseMetrics(t *testing.T, body string) map[string]*family {
	t.Helper()
	families := map[string]*family{}
	var current *family
	var name string
	scanner := bufio.NewScanner(strings.NewReader(body))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if fields := strings.Fields(line); len(fields) == 4 &&
			fields[1] == "TYPE" {
			name = fields[2]
			if families[name] != nil {
				t.Errorf("the family %s comes twice", name)
			}
			current = &family{fields[3], map[string]bool{},
				map[string]bool{}, map[string]string{}}
			families[name] = current
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if current == nil || !strings.HasPrefix(line, name) {
			t.Errorf("the line %q follows the type of %q", line, name)
			continue
		}
		current.add(line)
	}
	return families
}

func (f *family) add(line string) {
	series, value := line, ""
	if i := strings.LastIndexByte(line, ' '); i >= 0 {
		series, value = line[:i], line[i+1:]
	}
	f.Series[series] = value
	_, labels, _ := strings.Cut(series, "{")
	for _, label := range strings.Split(strings.TrimSuffix(labels, "}"), ",") {
		name, quoted, ok := strings.Cut(label, "=")
		switch {
		case !ok:
		case name == "le":
			f.Buckets[strings.Trim(quoted, `"`)] = true
		default:
			f.Labels[name] = true
		}
	}
}

func names(set map[string]bool) string {
	var all []string
	for name := range set {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, ",")
}

// ofGo are the families that only a Go program or etcd's proxy has a reason
// to print.
func ofGo(name string) bool {
	for _, prefix := range []string{"go_", "promhttp_", "etcd_grpc_proxy_",
		"etcd_server_go_version"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// exercise does the same on every server; the counters are compared after it.
func exercise(t *testing.T, s *harness.Server) {
	t.Helper()
	client := httpClient(t, s)
	ctx := timeout(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	watch := client.Watch(ctx, "m/", clientv3.WithPrefix(),
		clientv3.WithCreatedNotify())
	<-watch
	lease, err := client.Grant(ctx, 500)
	must(err)
	for i := range 3 {
		_, err = client.Put(ctx, fmt.Sprintf("m/%d", i), "value",
			clientv3.WithLease(lease.ID))
		must(err)
	}
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	must(err)
	_, err = client.Txn(ctx).Then(clientv3.OpPut("m/9", "x"),
		clientv3.OpPut("m/8", "x"), clientv3.OpDelete("m/0")).Commit()
	must(err)
	_, err = client.Delete(ctx, "m/1")
	must(err)
	_, err = client.Get(ctx, "m/2", clientv3.WithRev(1000))
	if err == nil {
		t.Error("a range at a future revision succeeds")
	}
	_, err = client.Put(ctx, "", "x")
	if err == nil {
		t.Error("a put without a key succeeds")
	}
	_, err = client.Compact(ctx, 3, clientv3.WithCompactPhysical())
	must(err)
	_, err = client.Revoke(ctx, lease.ID)
	must(err)
	_, err = client.Defragment(ctx, s.Endpoint)
	must(err)
	_, err = client.UserAdd(ctx, "u", "p")
	must(err)
	_, err = client.RoleAdd(ctx, "r")
	must(err)
	_, err = client.UserAdd(ctx, "u", "p")
	if err == nil {
		t.Error("a user can be added twice")
	}
	for events := 0; events < 8; {
		select {
		case response := <-watch:
			events += len(response.Events)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of 8 watch events came", events)
		}
	}
}

// equalValues are the series whose values follow from what exercise did.
var equalValues = []string{
	"etcd_mvcc_put_total", "etcd_mvcc_delete_total", "etcd_mvcc_txn_total",
	"etcd_debugging_mvcc_keys_total", "etcd_debugging_mvcc_events_total",
	"etcd_debugging_mvcc_watcher_total",
	"etcd_debugging_mvcc_watch_stream_total",
	"etcd_debugging_mvcc_slow_watcher_total",
	"etcd_debugging_mvcc_pending_events_total",
	"etcd_debugging_mvcc_current_revision",
	"etcd_debugging_mvcc_compact_revision",
	"etcd_debugging_mvcc_total_put_size_in_bytes",
	"etcd_debugging_lease_granted_total", "etcd_debugging_lease_revoked_total",
	"etcd_debugging_lease_renewed_total",
	"etcd_debugging_server_lease_expired_total",
	"etcd_debugging_auth_revision",
	"etcd_server_has_leader", "etcd_server_is_leader",
	"etcd_server_is_learner", "etcd_server_leader_changes_seen_total",
	"etcd_server_quota_backend_bytes", "etcd_server_proposals_pending",
	"etcd_server_proposals_failed_total",
	"etcd_server_snapshot_apply_in_progress_total",
	"etcd_disk_defrag_inflight", "etcd_server_heartbeat_send_failures_total",
	`etcd_cluster_version{cluster_version="3.7"}`,
	grpcSeries("started_total", "", "KV", "Put", "unary"),
	grpcSeries("handled_total", "OK", "KV", "Put", "unary"),
	grpcSeries("handled_total", "InvalidArgument", "KV", "Put", "unary"),
	grpcSeries("handled_total", "OutOfRange", "KV", "Range", "unary"),
	grpcSeries("handled_total", "OK", "KV", "Txn", "unary"),
	grpcSeries("handled_total", "OK", "KV", "DeleteRange", "unary"),
	grpcSeries("handled_total", "OK", "KV", "Compact", "unary"),
	grpcSeries("handled_total", "OK", "Lease", "LeaseGrant", "unary"),
	grpcSeries("handled_total", "OK", "Auth", "UserAdd", "unary"),
	grpcSeries("handled_total", "FailedPrecondition", "Auth", "UserAdd",
		"unary"),
	grpcSeries("msg_received_total", "", "Watch", "Watch", "bidi_stream"),
	grpcSeries("msg_sent_total", "", "Watch", "Watch", "bidi_stream"),
	grpcSeries("msg_sent_total", "", "KV", "Put", "unary"),
}

func grpcSeries(what, code, service, method, kind string) string {
	if code != "" {
		code = fmt.Sprintf("grpc_code=%q,", code)
	}
	return fmt.Sprintf("grpc_server_%s{%sgrpc_method=%q,"+
		"grpc_service=\"etcdserverpb.%s\",grpc_type=%q}", what, code, method,
		service, kind)
}

// TestMetrics compares the metrics page with the real etcd's: names, types,
// labels, buckets, and the values that follow from the requests.
func TestMetrics(t *testing.T) {
	tested := harness.Start(t, harness.Options{})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	compareFresh(t, tested, etcd)
	exercise(t, tested)
	exercise(t, etcd)
	page := fetch(t, "GET", tested.ClientURL+"/metrics")
	kind := "text/plain; version=0.0.4; charset=utf-8"
	if page.Status != 200 ||
		!strings.HasPrefix(page.Header["Content-Type"], kind) {
		t.Errorf("/metrics gives %d, %v", page.Status, page.Header)
	}
	have := parseMetrics(t, page.Body)
	want := parseMetrics(t, fetch(t, "GET", etcd.ClientURL+"/metrics").Body)
	var order []string
	for name := range want {
		if !ofGo(name) {
			order = append(order, name)
		}
	}
	slices.Sort(order)
	if len(order) < 90 {
		t.Errorf("etcd prints only %d families", len(order))
	}
	for _, name := range order {
		compareFamily(t, name, have[name], want[name])
	}
	compareGRPCSeries(t, have, want)
	compareValues(t, have, want)
	checkLiteral(t, tested, page.Body)
	if tested.IsChorad() {
		checkExtensive(t)
	}
}

// compareFresh wants all that etcd shows before anybody has asked for anything.
func compareFresh(t *testing.T, tested, etcd *harness.Server) {
	t.Helper()
	have := parseMetrics(t, fetch(t, "GET", tested.ClientURL+"/metrics").Body)
	want := parseMetrics(t, fetch(t, "GET", etcd.ClientURL+"/metrics").Body)
	for name := range want {
		// The first of these come with the first request: for etcd, the
		// harness's question after its health was one.
		isOfRequest := name == "etcd_server_range_duration_seconds" ||
			name == "etcd_server_request_duration_seconds"
		if have[name] == nil && !isOfRequest && !ofGo(name) {
			t.Errorf("%s isn't there from the start", name)
		}
	}
}

func compareFamily(t *testing.T, name string, have, want *family) {
	t.Helper()
	if have == nil {
		t.Errorf("the family %s is missing", name)
		return
	}
	if have.Kind != want.Kind {
		t.Errorf("%s is a %s, in etcd a %s", name, have.Kind, want.Kind)
	}
	if names(have.Labels) != names(want.Labels) {
		t.Errorf("%s has the labels %q, in etcd %q", name, names(have.Labels),
			names(want.Labels))
	}
	if names(have.Buckets) != names(want.Buckets) {
		t.Errorf("%s has the buckets %q, in etcd %q", name,
			names(have.Buckets), names(want.Buckets))
	}
}

// compareGRPCSeries wants the counters of every method from the start on.
func compareGRPCSeries(t *testing.T, have, want map[string]*family) {
	t.Helper()
	for _, name := range []string{"grpc_server_started_total",
		"grpc_server_handled_total", "grpc_server_msg_received_total",
		"grpc_server_msg_sent_total"} {
		if have[name] == nil || want[name] == nil {
			continue
		}
		missing := 0
		for series := range want[name].Series {
			if _, ok := have[name].Series[series]; !ok {
				if missing++; missing <= 5 {
					t.Errorf("the series %s is missing", series)
				}
			}
		}
		if missing > 5 {
			t.Errorf("and %d more of %s", missing-5, name)
		}
	}
}

func compareValues(t *testing.T, have, want map[string]*family) {
	t.Helper()
	value := func(families map[string]*family, series string) string {
		name, _, _ := strings.Cut(series, "{")
		if families[name] == nil {
			return "missing"
		}
		if v, ok := families[name].Series[series]; ok {
			return v
		}
		return "missing"
	}
	for _, series := range equalValues {
		a, b := value(have, series), value(want, series)
		if a != b {
			t.Errorf("%s is %s, in etcd %s", series, a, b)
		}
		if b == "missing" {
			t.Errorf("etcd has no %s", series)
		}
	}
	for _, series := range []string{
		"etcd_disk_wal_fsync_duration_seconds_count",
		"etcd_disk_backend_commit_duration_seconds_count",
		"etcd_mvcc_db_total_size_in_bytes",
		"etcd_mvcc_db_total_size_in_use_in_bytes",
		"etcd_server_proposals_committed_total",
		"etcd_server_proposals_applied_total",
		"etcd_network_client_grpc_received_bytes_total",
		"etcd_network_client_grpc_sent_bytes_total",
		"etcd_disk_wal_write_bytes_total", "process_resident_memory_bytes",
		"process_open_fds", "process_max_fds", "process_start_time_seconds",
		"process_virtual_memory_bytes", "os_fd_used", "os_fd_limit",
		"etcd_server_health_success"} {
		name := series
		if have[name] == nil {
			name = strings.TrimSuffix(series, "_count")
		}
		if have[name] == nil || have[name].Series[series] == "0" ||
			have[name].Series[series] == "" {
			t.Errorf("%s has no value", series)
		}
	}
}

func checkLiteral(t *testing.T, s *harness.Server, body string) {
	t.Helper()
	status, err := httpClient(t, s).Status(timeout(t), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`etcd_cluster_version{cluster_version="3.7"} 1`,
		fmt.Sprintf(`etcd_server_version{server_version="%s"} 1`,
			status.Version),
		fmt.Sprintf(`etcd_server_id{server_id="%x"} 1`,
			status.Header.MemberId),
		"etcd_server_has_leader 1",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("the page has no line %s", line)
		}
	}
}

// checkExtensive looks for the family that only --metrics=extensive brings.
func checkExtensive(t *testing.T) {
	t.Helper()
	s := harness.Start(t, harness.Options{Args: []string{"--metrics",
		"extensive"}})
	exercise(t, s)
	have := parseMetrics(t, fetch(t, "GET", s.ClientURL+"/metrics").Body)
	f := have["grpc_server_handling_seconds"]
	const buckets = "+Inf,0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,10,2.5,5"
	if f == nil || f.Kind != "histogram" || names(f.Buckets) != buckets {
		t.Errorf("grpc_server_handling_seconds is %+v", f)
	}
}
