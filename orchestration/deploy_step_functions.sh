#!/usr/bin/env bash
# Deploys the pipeline to AWS and operates it; see `--help`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/.." && pwd)
readonly here project
readonly targets=(fetchers consolidator resampler)

usage() {
    cat <<'HELP'
Usage: deploy_step_functions.sh [ACTION] [OPTIONS]

Builds the images, pushes them, and deploys the stack; a second run changes only
what changed. Needs the AWS command line with credentials, and docker or podman
unless every image is given.

Actions (deploying, if none is given):
  --dry-run             show what a deployment would change, and change nothing
  --start               start the pipeline now; with --session, for that session
  --redrive [NAME]      do the rest of a failed execution again, the last one if no NAME
  --status              the last executions, and why the last failed one failed
  --enable-schedule     let the schedule start the pipeline
  --disable-schedule    stop the schedule from starting the pipeline
  --delete              remove the stack; the bucket with the lake is kept
  --help                this text

Options:
  --region REGION       AWS region (default: the command line's own)
  --prefix PREFIX       begins every name (default: condvest)
  --stage STAGE         a second pipeline beside the first: PREFIX-STAGE
  --image NAME=URI      use an image that is there: fetchers, consolidator or resampler
  --session DATE        with --start: fetch this session again, such as 2025-11-20
  --intervals "N N"     with --start: resample these only
  --full                with --start: make every year again
  --email ADDRESS       send alerts there, once the address has confirmed
  --parameter NAME=VALUE  any parameter of template.yaml
  --delete-data         with --delete: remove the bucket and the lake as well
  --yes                 do not ask before data is removed

Environment: CONTAINER_CLI and CONTAINER_BUILD, to use another client than docker or
podman, or another build command than "CLIENT build".
HELP
}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    exit "${2:-1}"
}

# Options

action=deploy
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
prefix=condvest
stage=
session=
intervals=
full=false
email=
delete_data=false
confirmed=false
redriven=
with_images=false
declare -A images=()
declare -A given=()
declare -A known=()

# digest reads its input and prints 32 digits of its SHA-256.
digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-32
}

need_value() {
    [ $# -ge 2 ] && [ -n "$2" ] && [[ "$2" != --* ]] || fail "$1 needs a value" 2
}

choose() {
    [ "$action" = deploy ] || fail "--$action and --$1 exclude each other" 2
    action=$1
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run | --start | --status | --enable-schedule | --disable-schedule | --delete)
            choose "${1#--}"
            ;;
        --redrive)
            choose redrive
            if [ $# -ge 2 ] && [[ "$2" != --* ]]; then
                redriven=$2
                shift
            fi
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        --full) full=true ;;
        --delete-data) delete_data=true ;;
        --yes) confirmed=true ;;
        --region | --prefix | --stage | --session | --intervals | --email | --image | --parameter)
            need_value "$@"
            set_option "$1" "$2"
            shift
            ;;
        *) fail "unknown option $1; --help lists them" 2 ;;
        esac
        shift
    done
    [[ $prefix =~ ^[a-z][a-z0-9-]*$ ]] || fail "--prefix $prefix: lower-case letters, digits and hyphens only" 2
    [ -z "$session" ] || [[ $session =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] ||
        fail "--session $session: expected a date such as 2025-11-20" 2
    [ -z "$intervals" ] || [[ $intervals =~ ^[0-9]+(\ [0-9]+)*$ ]] ||
        fail "--intervals $intervals: expected numbers such as \"5 8\"" 2
    if [ "$delete_data" = true ] && [ "$action" != delete ]; then
        fail "--delete-data goes with --delete" 2
    fi
}

set_option() {
    local name=${2%%=*} value=${2#*=}
    case $1 in
    --region) region=$2 ;;
    --prefix) prefix=$2 ;;
    --stage) stage=$2 ;;
    --session) session=$2 ;;
    --intervals) intervals=$2 ;;
    --email) email=$2 ;;
    --image)
        [[ " ${targets[*]} " == *" $name "* && "$2" == *=* ]] ||
            fail "--image $2: expected one of ${targets[*]}, then = and a URI" 2
        images[$name]=$value
        ;;
    --parameter)
        [[ "$2" == *=* ]] || fail "--parameter $2: expected NAME=VALUE" 2
        given[$name]=$value
        ;;
    esac
}

# AWS

check_tools() {
    [ "${BASH_VERSINFO[0]}" -ge 4 ] || fail "bash 4 or newer is needed, this is $BASH_VERSION" 2
    command -v python3 >/dev/null || fail "python3 is not installed" 2
    command -v aws >/dev/null || fail "the AWS command line is not installed: https://aws.amazon.com/cli/" 2
    if [ -z "$region" ]; then
        region=$(aws configure get region) || fail "no region: give --region or set AWS_REGION" 2
    fi
    export AWS_REGION=$region AWS_DEFAULT_REGION=$region AWS_PAGER=
    local who
    who=$(aws sts get-caller-identity --query Account --output text 2>&1) ||
        fail "AWS does not accept the credentials; log in or set AWS_PROFILE ($who)" 2
    account=$who
}

# load_stack reads everything that is known of the stack in one call.
load_stack() {
    local answer key value
    known=()
    if answer=$(aws cloudformation describe-stacks --stack-name "$stack" --output text --query "Stacks[0].[
            [['status', StackStatus]],
            (Outputs || \`[]\`)[].[join(':', ['output', OutputKey]), OutputValue],
            (Parameters || \`[]\`)[].[join(':', ['parameter', ParameterKey]), ParameterValue]][]" 2>&1); then
        while IFS=$'\t' read -r key value; do
            known[$key]=$value
        done <<<"$answer"
    else
        [[ $answer == *"does not exist"* ]] || fail "$answer"
    fi
}

stack_exists() { [ -n "${known[status]:-}" ] && [ "${known[status]}" != REVIEW_IN_PROGRESS ]; }

require_stack() {
    stack_exists || fail "there is no stack $stack in $region; deploy it first" 2
}

output() {
    [ -n "${known[output:$1]:-}" ] || fail "the stack $stack has no output $1; deploy it first"
    printf '%s\n' "${known[output:$1]}"
}

parameter_in_force() { printf '%s\n' "${known[parameter:$1]:-}"; }

# Images

find_client() {
    client=${CONTAINER_CLI:-}
    if [ -z "$client" ]; then
        local name
        for name in docker podman; do
            if command -v "$name" >/dev/null && "$name" info >/dev/null 2>&1; then
                client=$name
                break
            fi
        done
    fi
    [ -n "$client" ] || fail "neither docker nor podman runs here; start one, or give all three --image" 2
    read -ra build <<<"${CONTAINER_BUILD:-$client build --platform linux/amd64}"
}

source_tag() {
    # The same sources give the same tag, whether or not they are committed.
    local commit
    commit=$(git -C "$project" rev-parse --short=12 HEAD 2>/dev/null) || commit=nocommit
    local content
    content=$(cd "$project" && find batch fetchers simulation docker/Dockerfile docker/trim.sh requirements pyproject.toml -type f \
        ! -name '*.pyc' | LC_ALL=C sort | while IFS= read -r file; do printf '%s ' "$file" && digest <"$file"; done | digest)
    printf '%s-%s\n' "$commit" "${content:0:12}"
}

pushed_digest() {
    local answer
    if answer=$(aws ecr describe-images --repository-name "$1" --image-ids "imageTag=$2" \
        --query 'imageDetails[0].imageDigest' --output text 2>&1); then
        printf '%s\n' "$answer"
    elif [[ $answer != *ImageNotFound* && $answer != *RepositoryNotFound* ]]; then
        fail "$answer"
    fi
}

log_in_to_registry() {
    local registry=$1
    say "logging in to $registry"
    aws ecr get-login-password | "$client" login --username AWS --password-stdin "$registry" >/dev/null
}

provide_images() {
    local tag name repository digest registry='' missing=()
    for name in "${targets[@]}"; do
        [ -n "${images[$name]:-}" ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    tag=$(source_tag)
    client=
    for name in "${missing[@]}"; do
        repository=$(output "${name^}Repository")
        digest=$(pushed_digest "${repository##*/}" "$tag")
        if [ -z "$digest" ]; then
            [ -n "$client" ] || find_client
            say "building $name"
            "${build[@]}" --tag "$repository:$tag" --target "$name" --file "$project/docker/Dockerfile" "$project" >&2
            if [ "$registry" != "${repository%%/*}" ]; then
                registry=${repository%%/*}
                log_in_to_registry "$registry"
            fi
            say "pushing $repository:$tag"
            "$client" push "$repository:$tag" >&2
            digest=$(pushed_digest "${repository##*/}" "$tag")
            [ -n "$digest" ] || fail "$repository:$tag was pushed but is not in the registry"
        else
            say "$name is in the registry: $tag"
        fi
        images[$name]=$repository@$digest
    done
}

# The stack

parameters() {
    # Prints NAME=VALUE lines: what was given now; CloudFormation keeps the others.
    local name
    printf 'Prefix=%s\n' "$full_prefix"
    [ -z "$email" ] || printf 'AlertEmail=%s\n' "$email"
    for name in "${targets[@]}"; do
        [ "$with_images" = false ] || [ -z "${images[$name]:-}" ] || printf '%sImage=%s\n' "${name^}" "${images[$name]}"
    done
    for name in "${!given[@]}"; do
        printf '%s=%s\n' "$name" "${given[$name]}"
    done
}

package() {
    # The definitions go to the bucket under names that are their digests, so that a
    # changed definition is a changed template.
    local bucket file key
    bucket=$(output Bucket)
    cp "$here/template.yaml" "$work/packaged.yaml"
    for file in "$here"/state_machines/*.asl.json; do
        key=_deploy/$(digest <"$file").asl.json
        aws s3api put-object --bucket "$bucket" --key "$key" --body "$file" >/dev/null
        sed -i.before "s|DefinitionS3Location: state_machines/${file##*/}|DefinitionS3Location: {Bucket: $bucket, Key: $key}|" \
            "$work/packaged.yaml"
    done
}

unpackaged() {
    # The first pass makes the bucket that the definitions go to, and no state machine yet.
    sed 's|DefinitionS3Location: state_machines/.*|DefinitionS3Location: {Bucket: none, Key: none}|' \
        "$here/template.yaml" >"$work/packaged.yaml"
}

deploy_stack() {
    local arguments=() line
    while IFS= read -r line; do arguments+=("$line"); done < <(parameters)
    if ! aws cloudformation deploy --stack-name "$stack" --template-file "$work/packaged.yaml" \
        --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset \
        --parameter-overrides "${arguments[@]}" --tags "Project=ohlcv-batch" "Prefix=$full_prefix" >&2; then
        explain_stack_failure
        exit 1
    fi
    load_stack
}

explain_stack_failure() {
    load_stack
    [ -n "${known[status]:-}" ] || return 0
    say "what failed:"
    aws cloudformation describe-stack-events --stack-name "$stack" --output text --max-items 50 \
        --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" >&2
}

require_deployable() {
    local status=${known[status]:-}
    case $status in
    ROLLBACK_COMPLETE)
        fail "the stack $stack was never made ($status): remove it with --delete, then deploy again"
        ;;
    *_IN_PROGRESS)
        [ "$status" = REVIEW_IN_PROGRESS ] || fail "the stack $stack is being changed ($status): wait and try again" 75
        ;;
    esac
}

keep_images_in_force() {
    # Without new ones, a change of parameters leaves the images as they are.
    local name value
    with_images=true
    for name in "${targets[@]}"; do
        if [ -z "${images[$name]:-}" ]; then
            value=$(parameter_in_force "${name^}Image")
            [ -z "$value" ] || images[$name]=$value
        fi
    done
}

deploy() {
    require_deployable
    if ! stack_exists; then
        say "first pass: the bucket, the image repositories, the network and the queues"
        unpackaged
        deploy_stack
    fi
    with_images=true
    provide_images
    package
    say "deploying the stack $stack"
    deploy_stack
    show_result
}

dry_run() {
    require_deployable
    if ! stack_exists; then
        say "there is no stack $stack: a deployment would make everything, in two passes; this is the first"
        unpackaged
    else
        keep_images_in_force
        if [ -z "${images[fetchers]:-}" ]; then unpackaged; else package; fi
        say "images that would be built have the tag $(source_tag)"
    fi
    local name
    name=dry-run-$(date +%s)
    local kind=UPDATE arguments=() line
    if ! stack_exists; then kind=CREATE; fi
    while IFS= read -r line; do
        arguments+=("ParameterKey=${line%%=*},ParameterValue=\"${line#*=}\"")
    done < <(parameters; previous_parameters)
    aws cloudformation create-change-set --stack-name "$stack" --change-set-name "$name" \
        --change-set-type "$kind" --capabilities CAPABILITY_NAMED_IAM \
        --template-body "file://$work/packaged.yaml" --parameters "${arguments[@]}" >/dev/null
    local answer
    if answer=$(aws cloudformation wait change-set-create-complete --stack-name "$stack" --change-set-name "$name" 2>&1); then
        aws cloudformation describe-change-set --stack-name "$stack" --change-set-name "$name" --output text \
            --query 'Changes[].ResourceChange.[Action, Replacement, ResourceType, LogicalResourceId]'
    else
        local reason
        reason=$(aws cloudformation describe-change-set --stack-name "$stack" --change-set-name "$name" \
            --query StatusReason --output text)
        [[ $reason == *"contain changes"* || $reason == *"No updates"* ]] || fail "$reason ($answer)"
        say "nothing would change"
    fi
    aws cloudformation delete-change-set --stack-name "$stack" --change-set-name "$name"
    [ "$kind" = UPDATE ] || aws cloudformation delete-stack --stack-name "$stack"
    say "nothing was changed"
}

previous_parameters() {
    # Parameters in force that were not given now.
    stack_exists || return 0
    local key now
    now=$(parameters)
    for key in "${!known[@]}"; do
        [[ $key == parameter:* && $'\n'$now != *$'\n'"${key#parameter:}="* ]] || continue
        printf '%s=%s\n' "${key#parameter:}" "${known[$key]}"
    done
}

show_result() {
    say ""
    say "deployed to account $account, region $region:"
    local key
    for key in "${!known[@]}"; do
        [[ $key != output:* ]] || printf '  %-24s %s\n' "${key#output:}" "${known[$key]}"
    done | sort
    say ""
    say "Next:"
    say "  aws secretsmanager put-secret-value --region $region --secret-id $(output Secret) --secret-string YOUR_POLYGON_KEY"
    say "  $0 --region $region$(own_options) --start"
    say "  $0 --region $region$(own_options) --status"
}

own_options() {
    [ "$prefix" = condvest ] || printf ' --prefix %s' "$prefix"
    [ -z "$stage" ] || printf ' --stage %s' "$stage"
}

# Operation

json_input() {
    # One line of JSON from what was given.
    local parts=()
    [ -z "$session" ] || parts+=("\"session\": \"$session\"")
    [ -z "$intervals" ] || parts+=("\"intervals\": [${intervals// /, }]")
    [ "$full" = false ] || parts+=("\"full\": true")
    local IFS=,
    printf '{%s}\n' "${parts[*]}"
}

start() {
    require_stack
    start_with "manual-${session:-daily}-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_input)"
}

start_with() {
    local arn
    arn=$(aws stepfunctions start-execution --state-machine-arn "$(output Pipeline)" --name "$1" \
        --input "$2" --query executionArn --output text)
    say "started; follow it with: $0 --region $region$(own_options) --status"
    printf '%s\n' "$arn"
}

last_failed() {
    local arn
    arn=$(aws stepfunctions list-executions --state-machine-arn "$(output Pipeline)" \
        --query "executions[?status=='FAILED' || status=='TIMED_OUT' || status=='ABORTED'] | [0].executionArn" --output text)
    [ "$arn" = None ] || printf '%s\n' "$arn"
}

state_output() {
    # The output of the last state of that name in an execution, as JSON.
    aws stepfunctions get-execution-history --execution-arn "$1" --output text \
        --query "events[?stateExitedEventDetails.name=='$2'] | [-1].stateExitedEventDetails.output"
}

last_state() {
    aws stepfunctions get-execution-history --execution-arn "$1" --output text \
        --query "events[?stateEnteredEventDetails && !contains(['PipelineFailed', 'AlertNotDelivered', 'Alert', 'ComposeRedrive', 'DescribeFailures'], stateEnteredEventDetails.name)] | [-1].stateEnteredEventDetails.name"
}

# json_field TEXT FIELD prints a field of an object.
json_field() {
    python3 -c 'import json, sys; found = json.loads(sys.argv[1])[sys.argv[2]]; print(found if isinstance(found, str) else json.dumps(found))' "$1" "$2"
}

# json_without TEXT FIELD prints an object without a field.
json_without() {
    python3 -c 'import json, sys; found = json.loads(sys.argv[1]); found.pop(sys.argv[2], None); print(json.dumps(found))' "$1" "$2"
}

redrive() {
    require_stack
    local arn=$redriven composed status
    if [ -z "$arn" ]; then
        arn=$(last_failed)
        [ -n "$arn" ] || fail "no execution has failed" 2
    elif [[ $arn != arn:* ]]; then
        arn=$(output Pipeline | sed 's/:stateMachine:/:execution:/'):$arn
    fi
    status=$(aws stepfunctions describe-execution --execution-arn "$arn" --query status --output text)
    composed=$(state_output "$arn" ComposeRedrive)
    if [ "$status" = FAILED ] && [ "$composed" != None ]; then
        start_with "redrive-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_field "$composed" redrive)"
    elif [ "$status" = SUCCEEDED ] || [ "$status" = RUNNING ]; then
        fail "the execution is $status: there is nothing to redrive" 2
    else
        # It ended before it composed a redrive: repeat its whole input, whether or not new bars wait.
        composed=$(aws stepfunctions describe-execution --execution-arn "$arn" --query input --output text)
        start_with "redrive-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_without "$composed" only_when_new)"
    fi
}

status() {
    require_stack
    local pipeline failed composed
    pipeline=$(output Pipeline)
    printf 'schedule: %s\n' "$(aws scheduler get-schedule --name "$(output Schedule)" --output text \
        --query '[State, ScheduleExpression, ScheduleExpressionTimezone]' | tr '\t' ' ')"
    printf 'last executions:\n'
    aws stepfunctions list-executions --state-machine-arn "$pipeline" --max-results 7 --output json \
        --query 'executions[].[status, startDate, name]' | python3 -c '
import datetime, json, sys
for status, start, name in json.load(sys.stdin):
    if not isinstance(start, str):
        start = datetime.datetime.fromtimestamp(start, datetime.timezone.utc).isoformat("T", "seconds")
    print(f"  {status:<10} {start}  {name}")'
    failed=$(last_failed)
    [ -n "$failed" ] || return 0
    printf 'last failure: %s\n' "${failed##*:}"
    composed=$(state_output "$failed" ComposeRedrive)
    if [ "$composed" != None ]; then
        printf '  state:   %s\n' "$(json_field "$composed" stage)"
        printf '  cause:   %s\n' "$(json_field "$composed" summary)"
        printf '  details: %s\n' "$(json_field "$composed" failures)"
    else
        printf '  state:   %s\n' "$(last_state "$failed")"
        printf '  cause:   %s\n' "$(aws stepfunctions describe-execution --execution-arn "$failed" --query '[status, error, cause]' --output text | tr '\t' ' ')"
    fi
    printf '  redrive: %s --region %s%s --redrive %s\n' "$0" "$region" "$(own_options)" "${failed##*:}"
}

set_schedule() {
    require_stack
    keep_images_in_force
    given[ScheduleState]=$1
    package
    deploy_stack
    say "the schedule is $1"
}

delete() {
    [ -n "${known[status]:-}" ] || fail "there is no stack $stack in $region" 2
    local bucket=${known[output:Bucket]:-} existing
    existing=$(parameter_in_force ExistingBucket)
    [ -n "$bucket" ] || delete_data=false # a stack that was never made has none
    if [ "$delete_data" = true ]; then
        [ -z "$existing" ] ||
            fail "the bucket $existing is not the stack's own: remove the lake in it by hand" 2
        confirm_data_loss "$bucket"
    fi
    say "removing the stack $stack"
    aws cloudformation delete-stack --stack-name "$stack"
    aws cloudformation wait stack-delete-complete --stack-name "$stack"
    if [ "$delete_data" = true ]; then
        empty_bucket "$bucket"
        aws s3api delete-bucket --bucket "$bucket"
        say "the bucket $bucket and the lake in it are gone"
    elif [ -n "$bucket" ]; then
        say "kept: s3://$bucket; deploy again with --parameter ExistingBucket=$bucket"
    fi
}

confirm_data_loss() {
    [ "$confirmed" = false ] || return 0
    [ -t 0 ] || fail "--delete-data removes every object in $1: add --yes" 2
    local answer
    read -rp "This removes every object in $1, all versions. Type its name to go on: " answer
    [ "$answer" = "$1" ] || fail "nothing was removed" 2
}

empty_bucket() {
    # Every version and delete marker, a thousand at a time.
    local kind batch
    for kind in Versions DeleteMarkers; do
        while true; do
            batch=$(aws s3api list-object-versions --bucket "$1" --max-items 1000 --output json \
                --query "{Objects: ${kind}[].{Key: Key, VersionId: VersionId}, Quiet: \`true\`}")
            [[ $batch == *VersionId* ]] || break
            printf '%s\n' "$batch" >"$work/batch.json"
            aws s3api delete-objects --bucket "$1" --delete "file://$work/batch.json" >/dev/null
        done
    done
}

main() {
    read_options "$@"
    full_prefix=$prefix${stage:+-$stage}
    stack=$full_prefix-ohlcv-pipeline
    check_tools
    load_stack
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    case $action in
    deploy) deploy ;;
    dry-run) dry_run ;;
    start) start ;;
    redrive) redrive ;;
    status) status ;;
    enable-schedule) set_schedule ENABLED ;;
    disable-schedule) set_schedule DISABLED ;;
    delete) delete ;;
    esac
}

main "$@"
