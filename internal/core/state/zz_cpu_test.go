package state
import ("syscall";"testing")
func cpuNow() int64 { var r syscall.Rusage; syscall.Getrusage(0,&r); return r.Utime.Nano()+r.Stime.Nano() }
func reportCPU(b *testing.B, from int64){ b.ReportMetric(float64(cpuNow()-from)/float64(b.N),"cpu-ns/op") }
