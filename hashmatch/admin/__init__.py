"""The operator's command line, `hashmatch-admin`.

It speaks to ListAdminService over gRPC as any other program could, and knows nothing of the store. What is done on a
server's own machine is in `hashmatch.operations`.
"""
