/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a value between two operations looks like. Activations are NHWC with batch one; a vector is
 * 1x1xC.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum element {
	ELEMENT_U8,  /* real = scale * (q - zero_point) */
	ELEMENT_F32,
	_ELEMENT_MAX,
};

struct shape {
	uint32_t height, width, channels;
};

/**
 * struct value - description of one value of a graph; holds no data
 * @scale: of ELEMENT_U8, finite and > 0
 * @zero_point: of ELEMENT_U8; the q that means 0.0, and what padding is filled with
 */
struct value {
	enum element element;
	struct shape shape;
	float scale;
	uint8_t zero_point;
};

#define SHAPE_ELEMENTS_MAX (UINT64_C(1) << 31)

/** shape_elements() - height * width * channels. Return: 0 when one is 0 or the product exceeds SHAPE_ELEMENTS_MAX */
uint64_t shape_elements(struct shape s);

/** value_bytes() - bytes of the data, 0 for an invalid shape */
size_t value_bytes(const struct value *v);
