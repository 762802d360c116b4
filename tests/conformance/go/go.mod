module conformance

go 1.24

require udf v0.0.0

replace udf => ../../../guests/go
