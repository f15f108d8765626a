// When it is loaded it warns of every Node before 22, also of those that this project supports and tests it on.
const { warn } = console;
console.warn = () => undefined;
const library = await import('oidc-provider');
console.warn = warn;

export const { default: Provider, errors } = library;
