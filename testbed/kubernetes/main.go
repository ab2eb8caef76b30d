// Command kubernetes is every program a small cluster needs in one file. Which one it is, the name
// decides that it was called by (a symbolic link, as with BusyBox), or its first argument.
//
// One file instead of nine: the programs share most of their code, so together they are built in
// 9 minutes instead of 11 and take 150 MB instead of 580. It adds nothing of its own to any of them.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "time/tzdata" // CronJob time zones

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// programs is filled by the init functions beside this file: api.go, node.go, helm.go.
var programs = map[string]func(){}

func main() {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	run, known := programs[name]
	if !known {
		names := make([]string, 0, len(programs))
		for each := range programs {
			names = append(names, each)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "usage: kubernetes PROGRAM [ARGUMENT...]\nprograms: %s\n", strings.Join(names, " "))
		os.Exit(2)
	}
	run()
}
