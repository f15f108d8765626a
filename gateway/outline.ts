import { loggableText } from './loggable-text.ts';

const shownMaxCharacters = 256;
const membersMax = 64;
const itemsMax = 20;
/** What cannot be a token that somebody took for a name. */
const harmlessName = /^[A-Za-z_-]{1,40}$/;

/** Members whose values may be read by whoever reads logs. */
export interface Outlining {
  /** Texts, numbers and lists of them, by name. */
  shown: ReadonlySet<string>;
  /** Objects and lists of objects that are outlined in turn. */
  opened: ReadonlySet<string>;
}

/**
 * A value with its secrets left out: what is not named as harmless is told by kind and size only, so
 * that a member that nobody thought of is none that is printed.
 */
export function outline(value: unknown, outlining: Outlining): unknown {
  if (!isObject(value)) return kindOf(value);
  const members = Object.entries(value);
  const outlined = members
    .slice(0, membersMax)
    .map(([name, member]) => [outlineName(name), outlineMember(name, member, outlining)]);
  return Object.fromEntries(outlined);
}

export function outlineName(name: string): string {
  return harmlessName.test(name) ? name : `[name of ${name.length} characters]`;
}

function outlineMember(name: string, member: unknown, outlining: Outlining): unknown {
  const { shown, opened } = outlining;
  if (opened.has(name)) {
    return Array.isArray(member)
      ? member.slice(0, itemsMax).map((item) => outline(item, outlining))
      : outline(member, outlining);
  }
  if (!shown.has(name)) return kindOf(member);
  return Array.isArray(member) ? member.slice(0, itemsMax).map(shownScalar) : shownScalar(member);
}

function shownScalar(value: unknown): unknown {
  if (typeof value === 'string') return loggableText(value, shownMaxCharacters);
  return typeof value === 'object' && value !== null ? kindOf(value) : value;
}

/** `[string of 12 characters]`, `[array of 2]`, `[object of 3]`, `[number]`, `[boolean]`; null is null. */
function kindOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return `[string of ${value.length} characters]`;
  if (Array.isArray(value)) return `[array of ${value.length}]`;
  return isObject(value) ? `[object of ${Object.keys(value).length}]` : `[${typeof value}]`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
