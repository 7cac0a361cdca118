// All accounts, for admins: create one for the staff, change a role, or end the access. Below them stand the user's own logins.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { known, t } from "../../shared/i18n/i18n.ts";
import { ago, dayAndTime } from "../../shared/time.ts";
import { Button, Card, Chip, type Column, ErrorNote, Field, Table } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { ActiveLogin, User } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf, useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";

const ROLES: User["role"][] = [
  "customer",
  "technician",
  "mediator",
  "onboarding_manager",
  "ops_manager",
  "admin",
  "service",
];
const STAFF = ROLES.slice(2);
const role = signal<User["role"] | "">("");
const adding = signal(false);
const error = signal<CalloutError | null>(null);

async function attempt(work: () => Promise<unknown>, done: string): Promise<boolean> {
  error.value = null;
  try {
    await work();
    toast(done);
    return true;
  } catch (refusal) {
    error.value = errorOf(refusal);
    return false;
  }
}

export function Users({ console }: { console: Console }) {
  const loaded = useLoaded(
    () => console.api.list("GET /v1/users", { query: { role: role.value || undefined }, limit: 400 }),
    [role.value],
  );
  const change = async (user: User, body: { role?: User["role"]; active?: boolean }) => {
    await attempt(
      () => console.api.call("PATCH /v1/users/{id}", { params: { id: user.id }, body }),
      tc("users.changed", { name: user.name }),
    );
    await loaded.again();
  };
  const columns: Column<User>[] = [
    { name: "name", head: tc("person.name"), cell: (row) => row.name },
    { name: "email", head: t("sign.email"), cell: (row) => row.email },
    { name: "role", head: tc("users.role"), cell: (row) => <RoleChoice user={row} change={change} /> },
    {
      name: "active",
      head: tc("person.state"),
      cell: (row) => (
        <Chip state={row.active ? "done" : "danger"}>{tc(row.active ? "users.active" : "users.inactive")}</Chip>
      ),
    },
    { name: "created", head: tc("jobs.created"), cell: (row) => dayAndTime(row.created_at) },
    {
      name: "act",
      head: tc("job.actions"),
      cell: (row) => (
        <Button onClick={() => void change(row, { active: !row.active })}>
          {tc(row.active ? "users.deactivate" : "users.activate")}
        </Button>
      ),
    },
  ];
  return (
    <div class="stack">
      <div class="filters">
        <Field label={tc("users.role")}>
          {(a) => (
            <select
              {...a}
              value={role.value}
              onChange={(event) => (role.value = event.currentTarget.value as User["role"])}
            >
              <option value="">{tc("jobs.all")}</option>
              {ROLES.map((name) => <option key={name} value={name}>{known("role", name)}</option>)}
            </select>
          )}
        </Field>
        <Button kind="main" icon="user" onClick={() => (adding.value = true, error.value = null)}>
          {tc("users.add")}
        </Button>
      </div>
      <ErrorNote error={adding.value ? null : error.value} />
      <Shown loaded={loaded}>
        {(users) => <Table caption={tc("people.users")} columns={columns} rows={users} keyOf={(row) => row.id} />}
      </Shown>
      <Logins console={console} />
      {adding.value && <NewUser console={console} added={loaded.again} />}
    </div>
  );
}

function RoleChoice(
  { user, change }: { user: User; change: (user: User, body: { role: User["role"] }) => Promise<void> },
) {
  return (
    <select
      class="in-table"
      aria-label={tc("users.role_of", { name: user.name })}
      value={user.role}
      onChange={(event) => void change(user, { role: event.currentTarget.value as User["role"] })}
    >
      {ROLES.map((name) => <option key={name} value={name}>{known("role", name)}</option>)}
    </select>
  );
}

function NewUser({ console, added }: { console: Console; added: () => Promise<void> }) {
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(event.target as HTMLFormElement)) as Record<string, string> & {
      role: User["role"];
    };
    const { name, email, password } = body;
    const done = await attempt(
      () => console.api.call("POST /v1/users", { body: { name, email, password, role: body.role } }),
      tc("users.added", { name }),
    );
    if (done) adding.value = false, await added();
  };
  return (
    <Sheet title={tc("users.add")} close={() => (adding.value = false)}>
      <form class="stack" onSubmit={submit}>
        <Field label={tc("users.role")}>
          {(a) => (
            <select {...a} name="role">
              {STAFF.map((name) => <option key={name} value={name}>{known("role", name)}</option>)}
            </select>
          )}
        </Field>
        <Field label={tc("person.name")}>{(a) => <input {...a} name="name" required autocomplete="off" />}</Field>
        <Field label={t("sign.email")}>
          {(a) => <input {...a} name="email" type="email" required autocomplete="off" />}
        </Field>
        <Field label={t("sign.password")} hint={t("sign.password_hint")}>
          {(a) => <input {...a} name="password" type="password" minLength={8} required autocomplete="new-password" />}
        </Field>
        <ErrorNote error={error.value} />
        <Button type="submit" kind="main" wide>{tc("users.add")}</Button>
      </form>
    </Sheet>
  );
}

function Logins({ console }: { console: Console }) {
  const loaded = useLoaded(() => console.api.list("GET /v1/me/sessions"), []);
  const end = async (login: ActiveLogin) => {
    await attempt(
      () => console.api.call("DELETE /v1/me/sessions/{id}", { params: { id: login.id } }),
      tc("users.login_ended"),
    );
    await loaded.again();
  };
  return (
    <Card title={tc("users.logins")}>
      <Shown loaded={loaded}>
        {(logins) => (
          <ul class="lines">
            {logins.map((login) => (
              <li key={login.id} class="row">
                <span class="grow">
                  {login.device ?? tc("users.no_device")} · {tc("users.login_seen", { age: ago(login.last_seen) })}
                </span>
                {login.current
                  ? <Chip state="done">{tc("users.this_login")}</Chip>
                  : <Button onClick={() => void end(login)}>{tc("users.end_login")}</Button>}
              </li>
            ))}
            {!logins.length && <li class="soft">{tc("users.no_logins")}</li>}
          </ul>
        )}
      </Shown>
    </Card>
  );
}
