"""The runtime of a flow, inside the child that runs the user's code: loads the files, calls one stage after
the other.

Imports nothing of ours and of others only what a stage needs, when it needs it: the child runs in the user's
environment, with his Python (3.8 and later) and his packages.

    from modelwarden_server.modelserver.flow.run import load_flow     # in the child: loaded by path

    flow = load_flow(folder, stages)            # stages: FlowStage as JSON (camelCase); raises FlowError
    header, buffers = flow.call("predict", {"files": [{"name", "contentType"}]}, [data_json, file, …])
    # header {"count": n, "seconds": s}, buffers [result_json]; raises FlowError with a sentence for the client
    flow.predict(x)                             # 2-D array in, array out: what is explained
"""
