#!/usr/bin/env node
import { join } from 'node:path';
import { loadBuiltFiles } from './built-files.ts';
import { createProgram } from './create-program.ts';

const built = loadBuiltFiles(join(import.meta.dirname, '..'));
await createProgram({ ...built, allowVolatileDatabase: false }).parseAsync();
