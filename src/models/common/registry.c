/* SPDX-License-Identifier: MIT */
#include "models/family.h"

#include <string.h>

#include "families.inc"

const zx_family *zx_family_find(const char *model_type)
{
    for (int i = 0; zx_families[i]; i++)
        if (!strcmp(zx_families[i]->model_type, model_type)) return zx_families[i];
    return NULL;
}
