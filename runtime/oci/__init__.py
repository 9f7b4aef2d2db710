"""The native runtime under the command line that OCI runtimes share (runtime.md of the runtime-spec)."""
