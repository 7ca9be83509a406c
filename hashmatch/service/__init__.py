"""The gRPC service: it translates, guards, measures and lives."""
