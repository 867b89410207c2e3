"""AWS on this machine: the real template and state machines, the real jobs, no account.

moto keeps the state of the services and interprets Amazon States Language. This package
adds what it lacks: CloudFormation with change sets for every type that the template has,
Batch jobs and functions that really run, and policies that are really enforced.
"""
