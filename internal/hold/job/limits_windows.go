package job

import (
	"errors"
	"fmt"
	"math"
	"os"
	"unsafe"

	"github.com/corral-run/corral/internal/hold"
	"golang.org/x/sys/windows"
)

// Limit puts the Request's limits into force, and asks the system whether they are:
// what does not implement them all, such as Wine, may say nothing.
func (j *containment) Limit() error {
	if j.limits == (hold.Limits{}) {
		return nil
	}
	j.limited.Store(true)
	flags := uint32(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)
	if err := j.limit(flags); err != nil {
		return fmt.Errorf("corral: job containment: limit: %w", err)
	}
	var now windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if err := j.query(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&now), unsafe.Sizeof(now)); err != nil {
		return fmt.Errorf("corral: job containment: %w", err)
	}
	lacks := func(flag uint32) bool { return now.BasicLimitInformation.LimitFlags&flag == 0 }
	if j.limits.Memory > 0 && lacks(windows.JOB_OBJECT_LIMIT_JOB_MEMORY) || j.limits.PIDs > 0 && lacks(windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS) {
		return fmt.Errorf("corral: job containment: this system does not take the limits of a job object: %w", errors.ErrUnsupported)
	}
	if j.limits.CPUs > 0 {
		return j.limitCPUs()
	}
	return nil
}

// cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION with a rate.
type cpuRate struct{ flags, rate uint32 }

// limitCPUs caps the processor time. The system counts in hundredths of a percent of
// all processors.
func (j *containment) limitCPUs() error {
	const (
		class           = 15 // JobObjectCpuRateControlInformation
		enable, hardCap = 1, 4
		all             = 10000
	)
	rate := math.Ceil(j.limits.CPUs / float64(windows.GetActiveProcessorCount(windows.ALL_PROCESSOR_GROUPS)) * all)
	want := cpuRate{enable | hardCap, uint32(min(max(rate, 1), all))}
	_, err := windows.SetInformationJobObject(j.job, class, uintptr(unsafe.Pointer(&want)), uint32(unsafe.Sizeof(want)))
	if err != nil { // Windows before 8, too, has no such limit
		return fmt.Errorf("corral: job containment: this system does not take the limit of CPUs of a job object: %w: %w", errors.ErrUnsupported, err)
	}
	var now cpuRate
	if err := j.query(class, unsafe.Pointer(&now), unsafe.Sizeof(now)); err != nil || now != want {
		return fmt.Errorf("corral: job containment: this system does not take the limit of CPUs of a job object: %w", errors.ErrUnsupported)
	}
	return nil
}

func (j *containment) query(class int32, to unsafe.Pointer, size uintptr) error {
	err := windows.QueryInformationJobObject(j.job, class, uintptr(to), uint32(size), nil)
	return os.NewSyscallError("QueryInformationJobObject", err)
}

// amounts returns what the whole run has used. Reading and writing are of files,
// pipes and devices alike.
func (j *containment) amounts(total hold.Usage) (a hold.Amounts) {
	if total.User > 0 || total.System > 0 {
		a.User, a.System = &total.User, &total.System
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if j.query(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&limits), unsafe.Sizeof(limits)) == nil && limits.PeakJobMemoryUsed > 0 {
		peak := int64(limits.PeakJobMemoryUsed)
		a.PeakMemory = &peak
	}
	const class = 8 // JobObjectBasicAndIoAccountingInformation
	var both struct {
		times [6]uint64 // JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
		io    windows.IO_COUNTERS
	}
	if j.query(class, unsafe.Pointer(&both), unsafe.Sizeof(both)) == nil && both.io.ReadOperationCount+both.io.WriteOperationCount > 0 {
		read, written := int64(both.io.ReadTransferCount), int64(both.io.WriteTransferCount)
		a.Read, a.Written = &read, &written
	}
	return a
}
