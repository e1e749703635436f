"""Asks a simulated Workspace API with the vendor's own SDK, and checks the answers against each other.

    python check.py --endpoint http://127.0.0.1:18080

The server's world must stand still meanwhile. Prints a line for each check; exits 1 if one fails, or if
nothing was checked.
"""

import argparse
import os
import sys

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkiam.v3 import (
    AuthScope,
    AuthScopeProject,
    IamClient,
    KeystoneCreateUserTokenByPasswordRequest,
    KeystoneCreateUserTokenByPasswordRequestBody,
    PwdAuth,
    PwdIdentity,
    PwdPassword,
    PwdPasswordUser,
    PwdPasswordUserDomain,
)
from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkworkspace.v2 import (
    ListDesktopsConnectStatusRequest,
    ListInstancesStatusRequest,
    WorkspaceClient,
)

# The counter of the groups' statistics that says the same as each documented status.
COUNTERS = {
    "CONNECTED": "in_use_num",
    "DISCONNECTED": "disconnected_num",
    "REGISTERED": "ready_num",
    "UNREGISTER": "unregistered_num",
}

passed = failed = 0


def check(what, fine, detail=""):
    global passed, failed
    if fine:
        passed += 1
        print(f"ok      {what}")
    else:
        failed += 1
        print(f"FAILED  {what} {detail}")


class TokenCredentials(BasicCredentials):
    """The SDK signs everything; a token goes in its own header instead."""

    def __init__(self, token, project_id):
        # Without a key the SDK would ask a cloud server's metadata for one.
        super().__init__("unused", "unused", project_id)
        self._token = token

    def sign_request(self, request):
        request.header_params["X-Auth-Token"] = self._token
        Signer.process_request_uri(request)
        return request


def client(args, credentials):
    # The builder asks for the class's name.
    credentials.__class__.__name__ = "BasicCredentials"
    builder = WorkspaceClient.new_builder().with_credentials(credentials)
    return builder.with_endpoint(args.endpoint).build()


def page(api, **query):
    return api.list_desktops_connect_status(ListDesktopsConnectStatusRequest(**query))


def listing(api, limit, **query):
    """All pages; the total of each."""
    desktops, totals, offset = [], set(), 0
    while True:
        answer = page(api, offset=offset, limit=limit, **query)
        desktops += answer.desktops
        totals.add(answer.total_count)
        offset += limit
        if len(answer.desktops) < limit:
            return desktops, totals


def ids(desktops):
    return sorted(desktop.desktop_id for desktop in desktops)


def users(desktop):
    return {user.name for user in desktop.attach_users or []}


def check_listing(api, how):
    desktops, totals = listing(api, 37)
    total = len(desktops)
    check(f"{how}: there are desktops", total > 0)
    check(f"{how}: every id comes once", len(set(ids(desktops))) == total)
    check(f"{how}: total_count is their number", totals == {total}, f"{totals} {total}")
    check(f"{how}: every desktop has a name", all(desktop.desktop_name for desktop in desktops))
    whole, _ = listing(api, 1000)
    check(f"{how}: the page size changes nothing", ids(whole) == ids(desktops))
    default = page(api)
    check(f"{how}: 100 records unless asked", len(default.desktops) == min(100, total))
    check(f"{how}: no record at limit 0", len(page(api, limit=0).desktops) == 0)
    return desktops


def check_statuses(api, desktops, how):
    documented = 0
    for status in COUNTERS:
        some, totals = listing(api, 50, connect_status=status)
        expected = [desktop for desktop in desktops if desktop.connect_status == status]
        check(f"{how}: connect_status={status} gives those {len(expected)}", ids(some) == ids(expected))
        check(f"{how}: connect_status={status} counts them", totals == {len(expected)})
        documented += len(some)
    others = [desktop for desktop in desktops if desktop.connect_status not in COUNTERS]
    check(f"{how}: the statuses add up", documented + len(others) == len(desktops))


def check_names(api, desktops, how):
    names = sorted(name for desktop in desktops for name in users(desktop))
    plain = next((name for name in names if name.isascii() and name.isalnum()), None)
    foreign = next((name for name in names if not name.isascii() and "," not in name), None)
    comma = next((name for name in names if "," in name), None)
    check(f"{how}: there are plain, non-ASCII and comma names", None not in (plain, foreign, comma))
    for asked in ([plain], [foreign], [comma], [plain, foreign, comma], names[:100], ["no-such-user"]):
        some, totals = listing(api, 100, user_names=asked)
        expected = [desktop for desktop in desktops if users(desktop) & set(asked)]
        what = ", ".join(asked) if len(asked) < 4 else f"{len(asked)} names"
        check(f"{how}: user_names={what} gives those {len(expected)}", ids(some) == ids(expected))
        check(f"{how}: user_names={what} counts them", totals == {len(expected)})
    prefix, _ = listing(api, 100, user_names=[plain[:-1]])
    check(f"{how}: names are matched exactly", prefix == [])
    both, _ = listing(api, 100, user_names=names[:100], connect_status="CONNECTED")
    check(f"{how}: filters go together", all(desktop.connect_status == "CONNECTED" for desktop in both))


def check_statistics(api, desktops, how):
    groups = api.list_instances_status(ListInstancesStatusRequest()).statics
    check(f"{how}: there are groups with names", bool(groups) and all(g.static_name for g in groups))
    total = lambda *names: sum(getattr(group, name) for group in groups for name in names)
    for status, counter in COUNTERS.items():
        expected = sum(desktop.connect_status == status for desktop in desktops)
        check(f"{how}: {counter} is the number of {status}", total(counter) == expected)
    attached = sum(bool(desktop.attach_users) for desktop in desktops)
    check(f"{how}: attached_num is the number of assigned desktops", total("attached_num") == attached)
    power = total("running_num", "stop_num", "hibernate_num", "other_num")
    check(f"{how}: the power states add up", power == len(desktops))
    session = total(*COUNTERS.values(), "unknown_num")
    check(f"{how}: the session states add up", session == len(desktops))


def check_refused(what, status, code, act):
    try:
        act()
        check(f"{what} is refused", False)
    except ClientRequestException as error:
        # The identity service gives its code as a number.
        seen = (error.status_code, str(error.error_code))
        check(f"{what} is refused with {status} {code}", seen == (status, code), str(seen))
        check(f"{what}: the refusal has a request id", bool(error.request_id))


def check_refusals(args, api):
    wrong = client(args, BasicCredentials(args.access_key, "wrong", args.project_id))
    check_refused("a wrong secret key", 401, "APIGW.0301", lambda: page(wrong))
    unknown = client(args, BasicCredentials("unknown", args.secret_key, args.project_id))
    check_refused("an unknown access key", 401, "APIGW.0301", lambda: page(unknown))
    token = client(args, TokenCredentials("wrong", args.project_id))
    check_refused("a wrong token", 401, "APIGW.0301", lambda: page(token))
    check_refused("an offset out of range", 400, "WKS.0001", lambda: page(api, offset=2001))
    check_refused("a limit out of range", 400, "WKS.0001", lambda: page(api, limit=2001))
    many = [f"user-{number}" for number in range(101)]
    check_refused("too many names", 400, "WKS.0001", lambda: page(api, user_names=many))


def token(args, password):
    user = PwdPasswordUser(
        domain=PwdPasswordUserDomain(name=args.domain), name=args.user, password=password
    )
    identity = PwdIdentity(methods=["password"], password=PwdPassword(user=user))
    scope = AuthScope(project=AuthScopeProject(name=args.region))
    body = KeystoneCreateUserTokenByPasswordRequestBody(auth=PwdAuth(identity=identity, scope=scope))
    credentials = GlobalCredentials(args.access_key, args.secret_key, "d")
    iam = IamClient.new_builder().with_credentials(credentials).with_endpoint(args.endpoint).build()
    return iam.keystone_create_user_token_by_password(
        KeystoneCreateUserTokenByPasswordRequest(body=body)
    )


def check_token(args, desktops):
    answer = token(args, args.password)
    check("a password gives a token", bool(answer.x_subject_token))
    check("the token says when it expires", bool(answer.token.expires_at))
    check("the token is for the project", answer.token.project.id == args.project_id)
    check_refused("a wrong password", 401, "401", lambda: token(args, "wrong"))
    api = client(args, TokenCredentials(answer.x_subject_token, args.project_id))
    by_token = check_listing(api, "by token")
    check("by token: the same desktops as by key", ids(by_token) == ids(desktops))
    check_statuses(api, by_token, "by token")
    check_statistics(api, by_token, "by token")


def check_project(args):
    # Without a project id the SDK asks the identity service for the region's.
    credentials = BasicCredentials(args.access_key, args.secret_key).with_iam_endpoint(args.endpoint)
    region = Region(args.region, args.endpoint)
    api = WorkspaceClient.new_builder().with_credentials(credentials).with_region(region).build()
    check("the project is found by its region", page(api, limit=1).total_count > 0)
    check("the project found is the right one", credentials.project_id == args.project_id)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "endpoint": None,
        "project-id": "0bec5db98280d2d02fd6c00c2de791ce",
        "region": "ap-southeast-3",
        "access-key": "SIMULATEDACCESSKEY00",
        "secret-key": "simulated-secret-key",
        "user": "recorder",
        "password": "simulated-password",
        "domain": "simulated",
    }.items():
        variable = "SDK_CHECK_" + name.upper().replace("-", "_")
        value = os.environ.get(variable, default)
        parser.add_argument(f"--{name}", default=value, required=value is None, help=f"or {variable}")
    return parser.parse_args()


def main():
    args = arguments()
    api = client(args, BasicCredentials(args.access_key, args.secret_key, args.project_id))
    desktops = check_listing(api, "by key")
    check_statuses(api, desktops, "by key")
    check_names(api, desktops, "by key")
    check_statistics(api, desktops, "by key")
    temporary = BasicCredentials(args.access_key, args.secret_key, args.project_id)
    temporary = client(args, temporary.with_security_token("a security token"))
    check("a temporary key's signature is met", page(temporary, limit=1).total_count == len(desktops))
    check_refusals(args, api)
    check_token(args, desktops)
    check_project(args)
    print(f"{passed} checks passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
