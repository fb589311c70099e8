// Pins the module whose scenario files raft_scenarios reads; no Go code here.
module chorad.test/raft

go 1.23

require go.etcd.io/raft/v3 v3.6.0
