// Small shared parts: buttons, cards, chips, fields, tiles, tables, empty states and notes.

import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import type { CalloutError } from "../api.ts";
import { t } from "../i18n/i18n.ts";
import { Icon, type IconName } from "./icons.tsx";
import "./ui.css";

interface ButtonProps extends Omit<JSX.IntrinsicElements["button"], "icon" | "size"> {
  kind?: "main" | "plain" | "quiet" | "danger";
  icon?: IconName;
  /** Across the whole width. */
  wide?: boolean;
  /** As tall as a thumb: the one main step of a phone page. */
  big?: boolean;
  /** The work is under way: the button is disabled. */
  busy?: boolean;
}

export function Button({ kind = "plain", icon, wide, big, busy, children, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      class={`button ${rest.class ?? ""}`}
      data-kind={kind}
      data-wide={wide || undefined}
      data-big={big || undefined}
      disabled={busy || rest.disabled}
      aria-busy={busy || undefined}
    >
      {icon && <Icon name={icon} size={18} />}
      {children}
    </button>
  );
}

/** A button that has only an icon; `label` is read aloud. */
export function IconButton({ icon, label, ...rest }: { icon: IconName; label: string } & ButtonProps) {
  return (
    <Button kind="quiet" {...rest} aria-label={label} title={label}>
      <Icon name={icon} />
    </Button>
  );
}

export function LinkButton(
  { kind = "plain", icon, wide, children, ...rest }: {
    kind?: ButtonProps["kind"];
    icon?: IconName;
    wide?: boolean;
  } & JSX.IntrinsicElements["a"],
) {
  return (
    <a {...rest} class="button" data-kind={kind} data-wide={wide || undefined}>
      {icon && <Icon name={icon} size={18} />}
      {children}
    </a>
  );
}

export function Card(
  { title, action, children, ...rest }:
    & { title?: ComponentChildren; action?: ComponentChildren }
    & Omit<
      JSX.IntrinsicElements["section"],
      "title" | "action"
    >,
) {
  const id = useId();
  return (
    <section {...rest} class={`card ${rest.class ?? ""}`} aria-labelledby={title ? id : undefined}>
      {(title || action) && (
        <header>
          {title && <h2 id={id}>{title}</h2>}
          {action}
        </header>
      )}
      {children}
    </section>
  );
}

export type ChipState = "open" | "assigned" | "active" | "done" | "closed" | "danger";

/** A small label that shows a state by form, word and colour. `state` is the phase of a job, or `danger`. */
export function Chip({ state, children }: { state?: ChipState; children: ComponentChildren }) {
  return <span class="chip" data-state={state} data-plain={state ? undefined : true}>{children}</span>;
}

interface FieldProps {
  label: string;
  hint?: string;
  wrong?: string;
  /** Gets the attributes that the input needs: `<Field label="Name">{(a) => <input {...a} name="name" />}</Field>`. */
  children: (attributes: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ComponentChildren;
}

export function Field({ label, hint, wrong, children }: FieldProps) {
  const id = useId();
  const described = wrong ? `${id}-wrong` : hint ? `${id}-hint` : undefined;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": described, "aria-invalid": wrong ? true : undefined })}
      {hint && !wrong && <span class="small soft" id={`${id}-hint`}>{hint}</span>}
      {wrong && <span class="wrong" id={`${id}-wrong`}>{wrong}</span>}
    </div>
  );
}

export function Tabs<Name extends string>(
  { label, tabs, chosen, choose }: {
    label: string;
    tabs: readonly (readonly [Name, string])[];
    chosen: Name;
    choose: (name: Name) => void;
  },
) {
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.findIndex(([name]) => name === chosen);
    choose(tabs[(at + step + tabs.length) % tabs.length][0]);
    const row = event.currentTarget as HTMLElement;
    requestAnimationFrame(() => row.querySelector<HTMLElement>("[aria-selected=true]")?.focus());
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map(([name, text]) => (
        <button
          type="button"
          role="tab"
          key={name}
          aria-selected={name === chosen}
          tabIndex={name === chosen ? 0 : -1}
          onClick={() => choose(name)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

export function Note(
  { kind = "info", children, action }: {
    kind?: "info" | "warning" | "error";
    children: ComponentChildren;
    action?: ComponentChildren;
  },
) {
  return (
    <div class="note" data-kind={kind} role={kind === "error" ? "alert" : "status"}>
      <Icon name={kind === "info" ? "bell" : "alert"} size={18} />
      <div class="grow">{children}</div>
      {action}
    </div>
  );
}

/** An error of a request: its title, code and request id, and a button that tries again. */
export function ErrorNote({ error, retry }: { error: CalloutError | null; retry?: () => void }) {
  if (!error) return null;
  const { problem, code } = error;
  const fields = (problem.errors ?? []) as { pointer: string; detail: string }[];
  return (
    <Note kind="error" action={retry && <Button onClick={retry}>{t("action.retry")}</Button>}>
      <strong>{code === "unreachable" ? t("error.unreachable") : problem.title ?? code}</strong>
      {problem.detail && problem.detail !== problem.title && <div>{problem.detail}</div>}
      {fields.map((field) => <div key={field.pointer}>{field.pointer.slice(1)}: {field.detail}</div>)}
      <small>
        {code}
        {problem.request_id ? ` · ${t("error.request", { id: problem.request_id })}` : ""}
      </small>
    </Note>
  );
}

/** An empty list: what it is, and what to do next. */
export function Empty(
  { icon = "list", title, children, action }: {
    icon?: IconName;
    title: string;
    children?: ComponentChildren;
    action?: ComponentChildren;
  },
) {
  return (
    <div class="empty">
      <Icon name={icon} size={28} />
      <strong>{title}</strong>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Spinner({ label }: { label: string }) {
  return (
    <div class="empty" role="status">
      <div class="spinner" />
      <span>{label}</span>
    </div>
  );
}

/** A figure with its name, and perhaps its last values as a line. */
export function Tile(
  { label, value, series, href }: { label: string; value: ComponentChildren; series?: number[]; href?: string },
) {
  const inner = (
    <>
      <span class="label">{label}</span>
      <span class="value">{value}</span>
      {series && series.length > 1 && <Sparkline values={series} />}
    </>
  );
  return href ? <a class="tile" href={href}>{inner}</a> : <div class="tile">{inner}</div>;
}

/** A line without axes: the figure beside it has the value. */
export function Sparkline({ values }: { values: number[] }) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((value, i) => {
    const y = high === low ? 14 : 26 - (24 * (value - low)) / (high - low);
    return `${((100 * i) / (values.length - 1)).toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true">
      <polyline
        points={points.join(" ")}
        fill="none"
        stroke="var(--brand)"
        stroke-width="1.5"
        vector-effect="non-scaling-stroke"
      />
    </svg>
  );
}

export interface Column<Row> {
  name: string;
  head: string;
  cell: (row: Row) => ComponentChildren;
  number?: boolean;
  sort?: () => void;
  sorted?: "ascending" | "descending";
}

export function Table<Row>(
  { caption, columns, rows, keyOf, open, selected }: {
    caption: string;
    columns: Column<Row>[];
    rows: Row[];
    keyOf: (row: Row) => string;
    open?: (row: Row) => void;
    selected?: string;
  },
) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={caption}>
      <table class="table">
        <caption class="sr-only">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.name} scope="col" aria-sort={column.sorted}>
                {column.sort ? <button type="button" onClick={column.sort}>{column.head}</button> : column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr
              key={keyOf(row)}
              data-selected={selected === keyOf(row) || undefined}
              onClick={open && (() => open(row))}
            >
              {columns.map((column) => (
                <td key={column.name} data-number={column.number || undefined}>{column.cell(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The first letters of a name, in a circle. */
export function Avatar({ name }: { name: string }) {
  const letters = name.split(/\s+/).slice(0, 2).map((word) => word[0] ?? "").join("").toUpperCase();
  return <span class="avatar" aria-hidden="true">{letters}</span>;
}
