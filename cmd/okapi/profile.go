//go:build profile

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// A program that is built with the tag "profile" notes where its processor time goes, from its start until it gets SIGUSR1, in the
// file that this variable of the environment names. `make pgo` makes default.pgo of it, after which the compiler
// optimises. Nothing of this is in a program that is built without the tag.
const profileVariable = "OKAPI_CPU_PROFILE"

// runProfile begins a profile, if one is wanted, and ends it at the signal; ".done" at the end of its file's name says that it is whole.
func runProfile() {
	name := os.Getenv(profileVariable)
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "okapi: no profile: %v\n", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGUSR1)
	go func() {
		<-stop
		pprof.StopCPUProfile()
		err := f.Close()
		if err == nil {
			err = os.Rename(name, name+".done")
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "okapi: profile: %v\n", err)
		}
	}()
}
