#!/usr/bin/env bash
# Deploys the pipeline to AWS and operates it; see `--help`.
set -euo pipefail

if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then
    printf 'error: bash 4 or newer is needed, this is %s; on macOS: brew install bash\n' "$BASH_VERSION" >&2
    exit 2
fi

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
    link=$(readlink "$script")
    [[ $link == /* ]] || link=$(dirname "$script")/$link
    script=$link
done
here=$(cd "$(dirname "$script")" && pwd)
project=$(cd "$here/.." && pwd)
readonly here project
readonly targets=(fetchers consolidator resampler)

# What every build is given, whichever client makes it. Files are dated 1980-01-01.
readonly build_options=(--platform linux/amd64 --build-arg SOURCE_DATE_EPOCH=315532800)
export SOURCE_DATE_EPOCH=315532800
# An attestation would make an index of an image, which Lambda refuses.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

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
  --set-key             store the vendor's key, read from standard input, in the secret
  --enable-schedule     let the schedule start the pipeline
  --disable-schedule    stop the schedule from starting the pipeline; uploads go on
  --delete              remove the stack and the vendor's key; the bucket with the lake is kept
  --help                this text

Options:
  --region REGION       AWS region (default: the command line's own)
  --prefix PREFIX       prefix of every name (default: condvest)
  --stage STAGE         a second pipeline beside the first: PREFIX-STAGE
  --uploads             make deliveries of files put under uploads/ of the bucket;
                        with --start: take what waits, was released or sent back
  --image NAME=URI      use an existing image: fetchers, consolidator or resampler
  --session DATE        with --start: fetch this session again, such as 2025-11-20
  --intervals "N N"     with --start: resample these only
  --full                with --start: rebuild every year
  --email ADDRESS       send alerts to this address, once it has confirmed
  --parameter NAME=VALUE  any parameter of template.yaml
  --delete-data         with --delete: remove the bucket and the lake as well
  --yes                 with --delete: do not ask

Environment: CONTAINER_CLI and CONTAINER_BUILD select a client other than docker or
podman, and a build command other than "CLIENT build".
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
uploads=false
declare -A images=()
declare -A given=()
declare -A known=()

sha256=(shasum -a 256)
if command -v sha256sum >/dev/null; then sha256=(sha256sum); fi

# digest reads its input and prints 32 digits of its SHA-256.
digest() {
    "${sha256[@]}" | cut -c1-32
}

need_value() {
    [ $# -ge 2 ] && [ -n "$2" ] && [[ "$2" != --* ]] || fail "$1 needs a value" 2
}

choose() {
    [ "$action" = deploy ] || fail "--$action and --$1 cannot be used together" 2
    action=$1
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run | --start | --status | --set-key | --enable-schedule | --disable-schedule | --delete)
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
        --uploads) uploads=true ;;
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
    check_options
}

check_options() {
    full_prefix=$prefix${stage:+-$stage}
    # The bucket's name takes a prefix of up to 29 letters, a role's 20; ECR takes no double hyphen.
    [[ $full_prefix =~ ^[a-z][a-z0-9]*(-[a-z0-9]+)*$ ]] && [ "${#full_prefix}" -ge 2 ] && [ "${#full_prefix}" -le 20 ] ||
        fail "prefix $full_prefix: 2 to 20 lower-case letters, digits and single hyphens, beginning with a letter" 2
    [ -z "$session" ] || [[ $session =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] ||
        fail "--session $session: expected a date such as 2025-11-20" 2
    [ -z "$intervals" ] || [[ $intervals =~ ^[0-9]+(\ [0-9]+)*$ ]] ||
        fail "--intervals $intervals: expected numbers such as \"5 8\"" 2
    [ "$action" = start ] || [ "$session$intervals$full" = false ] ||
        fail "--session, --intervals and --full go with --start" 2
    [ "$uploads" = false ] || [[ $action =~ ^(deploy|dry-run|start)$ ]] ||
        fail "--uploads goes with a deployment, --dry-run or --start; switch uploads off with --parameter Uploads=DISABLED" 2
    [ "$uploads" = false ] || [ "$session$intervals$full" = false ] ||
        fail "--start --uploads takes no --session, --intervals or --full" 2
    [ "$uploads" = false ] || [ "${given[Uploads]:=ENABLED}" = ENABLED ] ||
        fail "--uploads and --parameter Uploads=${given[Uploads]} contradict each other" 2
    [ "$action" != start ] || unset 'given[Uploads]'
    [ "$action" = delete ] || [ "$delete_data$confirmed" = falsefalse ] ||
        fail "--delete-data and --yes go with --delete" 2
    [[ $action =~ ^(deploy|dry-run)$ ]] || [ "$email${#images[@]}${#given[@]}" = 00 ] ||
        fail "--email, --image and --parameter go with a deployment or --dry-run" 2
    [ -z "${given[Prefix]:-}" ] || fail "--parameter Prefix: use --prefix; a stack keeps the one that it was made with" 2
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
    read -ra build <<<"${CONTAINER_BUILD:-$client build}"
}

# sources_of TARGET prints what its image is made from; .dockerignore lets nothing else in.
sources_of() {
    printf '%s\n' batch docker/Dockerfile docker/trim.sh docker/compile.sh .dockerignore
    case $1 in
    fetchers) printf '%s\n' fetchers simulation requirements/functions.lock ;;
    *) printf '%s\n' requirements/jobs.lock ;;
    esac
}

source_tag() {
    # The same sources, built in the same way, give the same tag, whether or not they are committed.
    local sources
    mapfile -t sources < <(sources_of "$1")
    {
        printf '%s\n' "$1" "${build_options[@]}"
        cd "$project"
        find "${sources[@]}" -type f ! -name '*.pyc' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 "${sha256[@]}"
    } | digest
}

# pushed_digest REPOSITORY TAG prints the digest of an image that the registry has, if it can run.
pushed_digest() {
    local answer digest kind
    if answer=$(aws ecr describe-images --repository-name "$1" --image-ids "imageTag=$2" --output text \
        --query 'imageDetails[0].[imageDigest, imageManifestMediaType]' 2>&1); then
        IFS=$'\t' read -r digest kind <<<"$answer"
        case $kind in
        *image.index* | *manifest.list*)
            say "$1:$2 is an index of images ($kind), which Lambda refuses: removing it"
            aws ecr batch-delete-image --repository-name "$1" --image-ids "imageTag=$2" >/dev/null
            ;;
        *) printf '%s\n' "$digest" ;;
        esac
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
    local tag name repository digest registry=''
    client=
    for name in "${targets[@]}"; do
        [ -z "${images[$name]:-}" ] || continue
        tag=$(source_tag "$name")
        repository=$(output "${name^}Repository")
        digest=$(pushed_digest "${repository##*/}" "$tag")
        if [ -z "$digest" ]; then
            [ -n "$client" ] || find_client
            say "building $name"
            "${build[@]}" "${build_options[@]}" --tag "$repository:$tag" --target "$name" --file "$project/docker/Dockerfile" "$project" >&2
            if [ "$registry" != "${repository%%/*}" ]; then
                registry=${repository%%/*}
                log_in_to_registry "$registry"
            fi
            say "pushing $repository:$tag"
            "$client" push "$repository:$tag" >&2
            digest=$(pushed_digest "${repository##*/}" "$tag")
            [ -n "$digest" ] || fail "$repository:$tag was pushed, and the registry has no image of that name that can run;
build without attestations: --provenance=false --sbom=false in CONTAINER_BUILD"
        else
            say "$name is already in the registry: $tag"
        fi
        images[$name]=$repository@$digest
    done
}

# Uploads

uploads_wanted() { [ "${given[Uploads]:-$(parameter_in_force Uploads)}" = ENABLED ]; }

# own_bucket_given prints the bucket that is not the stack's own, if there is one.
own_bucket_given() { printf '%s\n' "${given[ExistingBucket]-$(parameter_in_force ExistingBucket)}"; }

prepare_existing_bucket() {
    # The stack sets up a bucket of its own; one that was there before is asked, and switched on.
    local bucket versions notifications others
    bucket=$(own_bucket_given)
    uploads_wanted && [ -n "$bucket" ] || return 0
    versions=$(aws s3api get-bucket-versioning --bucket "$bucket" --query Status --output text)
    [ "$versions" = Enabled ] ||
        fail "uploads need a bucket that keeps versions, and s3://$bucket does not; enable them with:
  aws s3api put-bucket-versioning --bucket $bucket --versioning-configuration Status=Enabled" 2
    notifications=$(aws s3api get-bucket-notification-configuration --bucket "$bucket" --output json)
    [[ $notifications != *EventBridgeConfiguration* ]] || return 0
    [ -n "$notifications" ] || notifications={}
    others=$(read_json 'found.pop("ResponseMetadata", None); print(sum(map(len, found.values())))' <<<"$notifications")
    if [ "$action" = dry-run ]; then
        say "the events of s3://$bucket to EventBridge would be switched on; its other notifications ($others) would stay as they are"
        return 0
    fi
    say "switching on the events of s3://$bucket to EventBridge; its other notifications ($others) stay as they are"
    read_json 'print(json.dumps({**found, "EventBridgeConfiguration": {}}))' <<<"$notifications" >"$work/notifications.json"
    aws s3api put-bucket-notification-configuration --bucket "$bucket" \
        --notification-configuration "file://$work/notifications.json"
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
    # The definitions are named by their digests, so that a changed definition is a changed
    # template. `package upload` takes them to the bucket as well.
    local bucket file key
    bucket=$(output Bucket)
    cp "$here/template.yaml" "$work/packaged.yaml"
    for file in "$here"/state_machines/*.asl.json; do
        key=_deploy/$(digest <"$file").asl.json
        [ "${1:-}" != upload ] || aws s3api put-object --bucket "$bucket" --key "$key" --body "$file" >/dev/null
        sed -i.before "s|DefinitionS3Location: state_machines/${file##*/}|DefinitionS3Location: {Bucket: $bucket, Key: $key}|" \
            "$work/packaged.yaml"
    done
}

package_first_pass() {
    # What needs no image, and makes the bucket that everything else goes to: no block with
    # the condition HasImages, or HasUploads, which implies it.
    awk '
        /^[^ ]/ || /^  [^ ]/ { if (!skipped) printf "%s", block; block = ""; skipped = 0 }
        { block = block $0 "\n" }
        /^    Condition: Has(Images|Uploads)$/ { skipped = 1 }
        END { if (!skipped) printf "%s", block }
    ' "$here/template.yaml" >"$work/packaged.yaml"
}

# upload_template prints the address of the packaged template in the bucket.
upload_template() {
    # A request takes 51,200 bytes of it.
    local bucket key suffix=
    bucket=$(output Bucket)
    key=_deploy/$(digest <"$work/packaged.yaml").template
    aws s3api put-object --bucket "$bucket" --key "$key" --body "$work/packaged.yaml" >/dev/null
    [[ $region != cn-* ]] || suffix=.cn
    printf 'https://s3.%s.amazonaws.com%s/%s/%s\n' "$region" "$suffix" "$bucket" "$key"
}

deploy_stack() {
    # With a bucket, the template goes through it, so that it may be longer than 51,200 bytes.
    local arguments
    mapfile -t arguments < <(parameters)
    if ! aws cloudformation deploy --stack-name "$stack" --template-file "$work/packaged.yaml" \
        ${1:+--s3-bucket "$1" --s3-prefix _deploy} \
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
    DELETE_FAILED)
        explain_stack_failure
        fail "the stack $stack was not removed whole ($status): remove what is in its way, then --delete again"
        ;;
    UPDATE_ROLLBACK_FAILED)
        explain_stack_failure
        fail "the stack $stack is half changed ($status). Remove the cause, then:
  aws cloudformation continue-update-rollback --region $region --stack-name $stack
and deploy again"
        ;;
    *_IN_PROGRESS)
        [ "$status" = REVIEW_IN_PROGRESS ] || fail "the stack $stack is being changed ($status): wait and try again" 75
        ;;
    esac
}

deploy() {
    require_deployable
    if ! stack_exists; then
        say "first pass: the bucket, the image repositories, the network and the queues"
        package_first_pass
        deploy_stack
    fi
    prepare_existing_bucket
    with_images=true
    provide_images
    package upload
    say "deploying the stack $stack"
    deploy_stack "$(output Bucket)"
    aws cloudformation update-termination-protection --stack-name "$stack" --enable-termination-protection >/dev/null
    show_result
}

foresee_images() {
    # Images that a deployment would build are named by their tag: their digest is not known yet.
    local name tag repository digest
    with_images=true
    for name in "${targets[@]}"; do
        [ -z "${images[$name]:-}" ] || continue
        tag=$(source_tag "$name")
        repository=$(output "${name^}Repository")
        digest=$(pushed_digest "${repository##*/}" "$tag")
        [ -n "$digest" ] || say "$name would be built: $tag"
        images[$name]=$repository${digest:+@$digest}
        [ -n "$digest" ] || images[$name]+=:$tag
    done
}

dry_run() {
    require_deployable
    prepare_existing_bucket
    if ! stack_exists; then
        say "there is no stack $stack: a deployment would create everything, in two passes; this is the first"
        package_first_pass
    else
        foresee_images
        package
    fi
    local name
    name=dry-run-$(date +%s)
    local kind=UPDATE arguments=() line
    if ! stack_exists; then kind=CREATE; fi
    while IFS= read -r line; do
        arguments+=("ParameterKey=${line%%=*},ParameterValue=\"${line#*=}\"")
    done < <(parameters; previous_parameters)
    local template=(--template-body "file://$work/packaged.yaml")
    if stack_exists; then template=(--template-url "$(upload_template)"); fi
    aws cloudformation create-change-set --stack-name "$stack" --change-set-name "$name" \
        --change-set-type "$kind" --capabilities CAPABILITY_NAMED_IAM \
        "${template[@]}" --parameters "${arguments[@]}" \
        --tags "Key=Project,Value=ohlcv-batch" "Key=Prefix,Value=$full_prefix" >/dev/null
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
    warn_of_alerts_that_nobody_gets
    say "Next:"
    say "  $0$(own_options) --set-key <FILE_WITH_THE_KEY"
    say "  $0$(own_options) --start"
    say "  $0$(own_options) --status"
}

warn_of_alerts_that_nobody_gets() {
    local confirmed
    confirmed=$(aws sns list-subscriptions-by-topic --topic-arn "$(output AlertTopic)" --output json \
        --query "length(Subscriptions[?SubscriptionArn!='PendingConfirmation'])")
    [ "$confirmed" = 0 ] || return 0
    say "warning: nobody receives the alerts: no subscription of $(output AlertTopic) is confirmed;"
    say "  give --email, then follow the link in the mail that AWS sends"
}

own_options() {
    printf ' --region %s' "$region"
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
    if [ "$uploads" = true ]; then
        start_sweep
        return
    fi
    start_with "manual-${session:-daily}-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_input)"
}

start_sweep() {
    local arn
    [ -n "${known[output:UploadSweep]:-}" ] || fail "uploads are disabled; deploy with --uploads" 2
    arn=$(aws stepfunctions start-execution --state-machine-arn "$(output UploadSweep)" --query executionArn --output text)
    say "started; follow it with: $0$(own_options) --status"
    printf '%s\n' "$arn"
}

start_with() {
    local arn
    arn=$(aws stepfunctions start-execution --state-machine-arn "$(output Pipeline)" --name "$1" \
        --input "$2" --query executionArn --output text)
    say "started; follow it with: $0$(own_options) --status"
    printf '%s\n' "$arn"
}

# read_json PROGRAM [ARGUMENT...] runs lines of Python over the JSON of the standard input.
read_json() {
    local program=$1
    shift
    python3 -c "
import json, sys
found = json.load(sys.stdin)
$program" "$@"
}

last_failed() {
    aws stepfunctions list-executions --state-machine-arn "$(output Pipeline)" --max-results 1000 --output json | read_json '
failed = [one["executionArn"] for one in found["executions"] if one["status"] in ("FAILED", "TIMED_OUT", "ABORTED")]
print(*failed[:1])'
}

# history_end EXECUTION prints the newest thousand events of an execution, newest first.
history_end() {
    aws stepfunctions get-execution-history --execution-arn "$1" --reverse-order --max-results 1000 --output json
}

# state_output STATE takes a history and prints the output of the last state of that name.
state_output() {
    read_json '
ends = [one.get("stateExitedEventDetails", {}) for one in found["events"]]
outputs = [one["output"] for one in ends if one.get("name") == sys.argv[1]]
print(*outputs[:1])' "$1"
}

# json_field FIELD takes an object and prints a field of it.
json_field() {
    read_json 'value = found[sys.argv[1]]; print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

redrive() {
    require_stack
    local arn=$redriven history composed described status
    if [ -z "$arn" ]; then
        arn=$(last_failed)
        [ -n "$arn" ] || fail "no execution has failed" 2
    elif [[ $arn != arn:* ]]; then
        arn=$(output Pipeline | sed 's/:stateMachine:/:execution:/'):$arn
    fi
    described=$(aws stepfunctions describe-execution --execution-arn "$arn" --output json)
    status=$(json_field status <<<"$described")
    [[ ! $status =~ ^(SUCCEEDED|RUNNING)$ ]] || fail "the execution is $status: there is nothing to redrive" 2
    history=$(history_end "$arn")
    [ -z "$(state_output ComposeRefusal <<<"$history")" ] ||
        fail "the input of ${arn##*:} was refused, and would be again: correct it and use --start" 2
    composed=$(state_output ComposeRedrive <<<"$history")
    if [ -n "$composed" ]; then
        start_with "redrive-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_field redrive <<<"$composed")"
    else
        # It ended before it composed a redrive: repeat its whole input, whether or not new bars wait.
        start_with "redrive-$(date -u +%Y%m%dT%H%M%SZ)" "$(json_field input <<<"$described" |
            read_json 'found.pop("only_when_new", None); print(json.dumps(found))')"
    fi
}

status() {
    require_stack
    local pipeline failed
    pipeline=$(output Pipeline)
    printf 'schedule: %s\n' "$(aws scheduler get-schedule --name "$(output Schedule)" --output text \
        --query '[State, ScheduleExpression, ScheduleExpressionTimezone]' | tr '\t' ' ')"
    warn_of_alerts_that_nobody_gets
    printf 'last executions:\n'
    list_executions "$pipeline" 7
    failed=$(last_failed)
    [ -z "$failed" ] || describe_failure "$failed"
    status_of_uploads
}

status_of_uploads() {
    local waiting
    if [ -z "${known[output:Uploads]:-}" ]; then
        printf 'uploads: DISABLED; a deployment with --uploads enables them\n'
        return
    fi
    printf 'uploads: ENABLED, %sSOURCE/FILE\n' "$(output Uploads)"
    printf 'last updates by uploads:\n'
    list_executions "$(output LakeUpdate)" 5
    waiting=$(aws stepfunctions list-executions --state-machine-arn "$(output UploadProcessor)" --status-filter FAILED \
        --max-results 5 --query 'executions[].[name]' --output text)
    [ -z "$waiting" ] || [ "$waiting" = None ] || printf 'last uploads that could not be inspected:\n%s\n' "$waiting"
    printf 'each upload: ohlcv uploads --lake %s\n' "$(output Lake)"
}

# list_executions MACHINE COUNT prints the last executions of a state machine.
list_executions() {
    aws stepfunctions list-executions --state-machine-arn "$1" --max-results "$2" --output json | read_json '
import datetime
def instant(text):
    if not isinstance(text, str):
        return datetime.datetime.fromtimestamp(text, datetime.timezone.utc)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
for one in found["executions"]:
    start = instant(one["startDate"])
    took = str(instant(one["stopDate"]) - start).split(".")[0] if one.get("stopDate") else "-"
    status, begun, name = one["status"], start.isoformat("T", "seconds"), one["name"]
    print(f"  {status:<10} {begun}  {took:>8}  {name}")'
}

describe_failure() {
    local history composed field label
    printf 'last failure: %s\n' "${1##*:}"
    printf '  console: %s/states/home?region=%s#/v2/executions/details/%s\n' "$(output Console)" "$region" "$1"
    history=$(history_end "$1")
    composed=$(state_output ComposeRedrive <<<"$history")
    [ -n "$composed" ] || composed=$(state_output ComposeRefusal <<<"$history")
    if [ -n "$composed" ]; then
        for field in stage:state summary:cause failures:details; do
            label=${field#*:}:
            printf '  %-8s %s\n' "$label" "$(json_field "${field%:*}" <<<"$composed")"
        done
    else
        printf '  state:   %s\n' "$(read_json '
own = ("PipelineFailed", "AlertNotDelivered", "Alert", "AdviseRedrive", "DescribeFailures")
entered = [one["stateEnteredEventDetails"]["name"] for one in found["events"] if "stateEnteredEventDetails" in one]
print(*[name for name in entered if name not in own][:1])' <<<"$history")"
        printf '  cause:   %s\n' "$(aws stepfunctions describe-execution --execution-arn "$1" --query '[status, error, cause]' --output text | tr '\t' ' ')"
    fi
    [[ $composed == *'"stage": "CheckInput"'* || $composed == *'"stage":"CheckInput"'* ]] ||
        printf '  redrive: %s%s --redrive %s\n' "$0" "$(own_options)" "${1##*:}"
}

set_key() {
    # The key passes through pipes alone: arguments are seen by every user of the machine.
    require_stack
    local key
    if [ -t 0 ]; then
        read -rsp "The vendor's key: " key
        say ""
    else
        IFS= read -r key || [ -n "$key" ] || fail "--set-key reads the key from the standard input, which is empty" 2
    fi
    key=${key//[[:space:]]/}
    [ -n "$key" ] || fail "the key is empty" 2
    printf '%s' "$key" | aws secretsmanager put-secret-value --secret-id "$(output Secret)" \
        --secret-string file:///dev/stdin >/dev/null
    say "the key is stored in the secret $(output Secret)"
}

set_schedule() {
    # The template in force stays: an emergency brake deploys nothing else.
    require_stack
    local key arguments=("ParameterKey=ScheduleState,ParameterValue=$1") answer
    [ "$(parameter_in_force ScheduleState)" != "$1" ] || { say "the schedule is already $1" && return; }
    for key in "${!known[@]}"; do
        [[ $key != parameter:* || $key == parameter:ScheduleState ]] ||
            arguments+=("ParameterKey=${key#parameter:},UsePreviousValue=true")
    done
    aws cloudformation update-stack --stack-name "$stack" --use-previous-template \
        --capabilities CAPABILITY_NAMED_IAM --parameters "${arguments[@]}" >/dev/null
    answer=$(aws cloudformation wait stack-update-complete --stack-name "$stack" 2>&1) || {
        explain_stack_failure
        fail "$answer"
    }
    say "the schedule is $1"
    [ "$1$(parameter_in_force Uploads)" != DISABLEDENABLED ] ||
        say "uploads are still taken; to stop them: $0$(own_options) --parameter Uploads=DISABLED"
}

delete() {
    [ -n "${known[status]:-}" ] || fail "there is no stack $stack in $region" 2
    local bucket=${known[output:Bucket]:-} existing answer
    existing=$(parameter_in_force ExistingBucket)
    [ -n "$bucket" ] || delete_data=false # a stack that was never made has none
    if [ "$delete_data" = true ]; then
        [ -z "$existing" ] ||
            fail "the bucket $existing is not the stack's own: remove the lake in it by hand" 2
        confirm "This removes the stack $stack with the vendor's key, and every object in $bucket, all versions." "$bucket"
    elif [ -n "$bucket" ]; then
        confirm "This removes the stack $stack with the vendor's key; s3://$bucket is kept." "$stack"
    fi
    say "removing the stack $stack"
    aws cloudformation update-termination-protection --stack-name "$stack" --no-enable-termination-protection >/dev/null
    aws cloudformation delete-stack --stack-name "$stack"
    answer=$(aws cloudformation wait stack-delete-complete --stack-name "$stack" 2>&1) || {
        explain_stack_failure
        fail "$answer"
    }
    if [ "$delete_data" = true ]; then
        empty_bucket "$bucket"
        aws s3api delete-bucket --bucket "$bucket"
        say "the bucket $bucket and the lake in it were deleted"
    elif [ -n "$bucket" ]; then
        say "kept: s3://$bucket; deploy again with --parameter ExistingBucket=$bucket"
        [ -z "$existing" ] || [ "$(parameter_in_force Uploads)" != ENABLED ] ||
            say "s3://$bucket still sends its events to EventBridge, where no rule of this stack listens any more"
    fi
}

# confirm WARNING NAME goes on where the name is typed, or --yes was given.
confirm() {
    [ "$confirmed" = false ] || return 0
    [ -t 0 ] || fail "$1 Add --yes" 2
    local answer
    read -rp "$1 Type $2 to go on: " answer
    [ "$answer" = "$2" ] || fail "nothing was removed" 2
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
    set-key) set_key ;;
    enable-schedule) set_schedule ENABLED ;;
    disable-schedule) set_schedule DISABLED ;;
    delete) delete ;;
    esac
}

[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
