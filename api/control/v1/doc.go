// Package controlpb is the generated code of the service between brokers and controllers.
package controlpb
