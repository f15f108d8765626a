import { isIP } from 'node:net';

const placeholderPattern = /\$\{([^}]*)\}/g;
const placeholderNamePattern = /^[a-z][a-z0-9_]{0,63}$/;
const originPattern = /^(https?:\/\/)([^/?#]*)(.*)$/s;
const hostValuePattern = /^[A-Za-z0-9.-]+$/;

/** Names between `${` and `}`, each once. */
export function placeholders(template: string): string[] {
  return [...new Set(Array.from(template.matchAll(placeholderPattern), (match) => match[1] ?? ''))];
}

/** Why a URL template is not one, or null. Names it uses are checked by the definition. */
export function urlTemplateFault(template: string): string | null {
  const parts = originPattern.exec(template);
  if (parts === null) return 'must begin with https:// (or http://, where egress allows it)';
  const unknown = placeholders(template).find((name) => !placeholderNamePattern.test(name));
  if (unknown !== undefined) return 'has a placeholder that is not ${lower_case_name}';
  const sample = template.replaceAll(placeholderPattern, 'x');
  if (!URL.canParse(sample)) return 'is not a URL';
  const url = new URL(sample);
  if (url.username !== '' || url.password !== '') return 'must not hold user information';
  if (template.includes('#')) return 'must not hold a fragment';
  return null;
}

/** Scheme and authority of a URL template as written, placeholders included. */
export function templateOrigin(template: string): string {
  const parts = originPattern.exec(template);
  return parts === null ? template : `${parts[1] ?? ''}${parts[2] ?? ''}`;
}

/**
 * Fills a URL template in. In the authority a value stands as it is, if it can be part of a host name;
 * elsewhere it is percent-encoded, so that no value reaches out of its place. Null: a value is missing
 * or does not fit.
 */
export function renderUrl(
  template: string,
  variables: Readonly<Record<string, string>>,
): URL | null {
  const origin = templateOrigin(template);
  const filledOrigin = fill(origin, variables, (value) =>
    hostValuePattern.test(value) ? value : null,
  );
  const filledRest = fill(template.slice(origin.length), variables, encodeURIComponent);
  if (filledOrigin === null || filledRest === null) return null;
  const url = filledOrigin + filledRest;
  return URL.canParse(url) ? new URL(url) : null;
}

/** Fills a text template in; null if a value is missing. */
export function renderText(
  template: string,
  values: Readonly<Record<string, string>>,
): string | null {
  return fill(template, values, (value) => value);
}

/** Every value is put in once: one that looks like a placeholder stays what it is. */
function fill(
  template: string,
  values: Readonly<Record<string, string>>,
  encode: (value: string) => string | null,
): string | null {
  const pieces = template.split(placeholderPattern);
  for (const [index, name] of pieces.entries()) {
    // The pattern captures the name, so split() leaves text at even places and names at odd ones.
    if (index % 2 === 0) continue;
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    const encoded = value === undefined ? null : encode(value);
    if (encoded === null) return null;
    pieces[index] = encoded;
  }
  return pieces.join('');
}

/** A host name, or `*.` and a domain, which stands for any number of labels before it. */
export const hostPatternPattern = /^(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;

/** Host names compare without case and without the root's dot; addresses match only as written. */
export function isHostAllowed(hostname: string, patterns: readonly string[]): boolean {
  const host = hostname.toLowerCase().replace(/\.$/, '');
  return patterns.some((pattern) => {
    if (!pattern.startsWith('*.')) return host === pattern;
    return isIP(host) === 0 && host.endsWith(pattern.slice(1));
  });
}
