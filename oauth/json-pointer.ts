/** RFC 6901: empty, or reference tokens that each begin with `/`, where `~` occurs as `~0` or `~1`. */
export const jsonPointerPattern = /^(?:\/(?:[^~/]|~[01])*)*$/;

/** The value at an RFC 6901 pointer, or undefined. Never follows inherited members. */
export function readPointer(document: unknown, pointer: string): unknown {
  if (pointer === '') return document;
  let value = document;
  for (const token of pointer.slice(1).split('/')) {
    if (typeof value !== 'object' || value === null) return undefined;
    const key = unescapeToken(token);
    if (!Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** The RFC 6901 pointer of a path of member names and array indexes. */
export function toPointer(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** The name of the member that a pointer ends at. */
export function lastToken(pointer: string): string {
  return unescapeToken(pointer.slice(pointer.lastIndexOf('/') + 1));
}

function unescapeToken(token: string): string {
  return token.replaceAll('~1', '/').replaceAll('~0', '~');
}
