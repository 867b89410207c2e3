"""AWS on this machine: the real template and state machines, the real jobs, no account.

moto keeps the state of the services and interprets Amazon States Language. This package adds
CloudFormation with change sets and rollback for every type of the template, Batch jobs and
functions that really run, and policies that are really enforced. It is a tool of development,
outside the wheel: ``python -m local_aws``, and ``python -m local_aws.rehearsal``.
"""
