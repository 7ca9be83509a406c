"""Sealing, approvals and the audit chain: a pure core that knows neither Redis nor gRPC."""
